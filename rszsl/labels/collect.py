"""The labels of all planned tiles of a scene, filled batch by batch, and their count."""

from collections.abc import Sequence
from copy import copy
from dataclasses import asdict, dataclass, field, fields

import numpy as np
from numpy.typing import NDArray

from rszsl.labels.assign import RANKS, Labels, Status
from rszsl.labels.calibrate import Floats
from rszsl.labels.encoded import EncodedTiles
from rszsl.labels.voices import Voices

STATUSES = tuple(Status)
_PENDING = -1


@dataclass(frozen=True, slots=True)
class Counts:
    """planned = labelled + other + nodata + failed."""

    planned: int
    labelled: int
    other: int
    nodata: int
    failed: int

    @property
    def adds_up(self) -> bool:
        """Whether every planned tile is accounted for."""
        return self.planned == self.labelled + self.other + self.nodata + self.failed

    def to_record(self) -> dict[str, int]:
        """For the `runs` table."""
        return asdict(self)


@dataclass(slots=True, eq=False)
class SceneLabels:
    """Labels of the n planned tiles of a scene, in plan order, filled batch by batch.

    Attributes:
        tile_ids: int64 (n,), numbers in the grid.
        status: int8 (n,), index into `STATUSES`, -1 before a tile is dealt with.
        valid_fraction: float32 (n,).
        choice, confidence, attribute, contribution: (n, 3) as in `Labels`.
        margin, similarity: float32 (n,) as in `Labels`.
        failures: why a tile failed, by position in the plan.
        voices: what speaks for areas of labelled tiles; None where nothing does.
    """

    tile_ids: NDArray[np.int64]
    status: NDArray[np.int8] = field(init=False)
    valid_fraction: Floats = field(init=False)
    choice: NDArray[np.int64] = field(init=False)
    confidence: Floats = field(init=False)
    attribute: NDArray[np.int64] = field(init=False)
    contribution: Floats = field(init=False)
    margin: Floats = field(init=False)
    similarity: Floats = field(init=False)
    failures: dict[int, str] = field(default_factory=dict)
    voices: Voices | None = None

    def __post_init__(self) -> None:
        n = len(self.tile_ids)
        self.status = np.full(n, _PENDING, dtype="int8")
        self.valid_fraction, self.margin, self.similarity = (np.full(n, np.nan, dtype="float32") for _ in range(3))
        self.choice, self.attribute = (np.full((n, RANKS), -1, dtype="int64") for _ in range(2))
        self.confidence, self.contribution = (np.full((n, RANKS), np.nan, dtype="float32") for _ in range(2))

    @classmethod
    def joined(cls, parts: "Sequence[SceneLabels]") -> "SceneLabels":
        """Put together the labels of consecutive pieces of a plan."""
        whole = cls(np.concatenate([part.tile_ids for part in parts]))
        start = 0
        for part in parts:
            at = slice(start, start + len(part.tile_ids))
            for name in TILE_ARRAYS:
                getattr(whole, name)[at] = getattr(part, name)
            whole.failures.update({start + i: reason for i, reason in part.failures.items()})
            start = at.stop
        whole.voices = Voices.joined([part.voices for part in parts if part.voices is not None])
        return whole

    def cut(self, start: int, stop: int) -> "SceneLabels":
        """Give the labels of the positions `start <= i < stop` of the plan: views, but for the failures."""
        piece = copy(self)
        for name in TILE_ARRAYS:
            setattr(piece, name, getattr(self, name)[start:stop])
        piece.failures = {int(i): self.failures[start + int(i)] for i in np.flatnonzero(piece.is_status(Status.FAILED))}
        return piece

    def put_labels(self, at: NDArray[np.int64], labels: Labels) -> None:
        """Record the labels of classified tiles at positions `at` of the plan."""
        self.status[at] = np.where(labels.accepted, _code(Status.LABELLED), _code(Status.OTHER))
        for name in ("choice", "confidence", "attribute", "contribution", "margin", "similarity"):
            getattr(self, name)[at] = getattr(labels, name)

    def put_batch(self, start: int, tiles: EncodedTiles) -> None:
        """Record, for a batch that starts at position `start` of the plan, what failed and what is nodata."""
        at = slice(start, start + len(tiles))
        self.valid_fraction[at] = tiles.valid_fraction
        self.status[at] = np.where(tiles.encoded, _PENDING, _code(Status.NODATA))
        for i, reason in enumerate(tiles.failures):
            if reason is not None:
                self.status[start + i] = _code(Status.FAILED)
                self.failures[start + i] = reason

    def is_status(self, status: Status) -> NDArray[np.bool_]:
        """Which tiles have this status: bool (n,)."""
        return np.asarray(self.status == _code(status))

    def count(self) -> Counts:
        """Count the tiles by what became of them."""
        found = {str(s): int(self.is_status(s).sum()) for s in STATUSES}
        return Counts(planned=len(self.tile_ids), **found)


TILE_ARRAYS = tuple(f.name for f in fields(SceneLabels) if f.name not in ("failures", "voices"))
"""Fields of `SceneLabels` with a row for each tile."""


def _code(status: Status) -> int:
    return STATUSES.index(status)
