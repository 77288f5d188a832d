"""What travels to a worker and back: a brief for the whole batch, units of work, and their outcomes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from rszsl.classes import ClassName
from rszsl.errors import ClusterError
from rszsl.labels.assign import Status
from rszsl.labels.collect import STATUSES, SceneLabels
from rszsl.model.override import Overrides
from rszsl.options import MapOptions

if TYPE_CHECKING:
    from rszsl.model.bundle import Model
    from rszsl.output.cache import CacheKey

SPLIT_FROM = 1.5
"""A scene of more than this many strips' tiles is cut; below, a second strip would be a sliver."""


class UnfitWorkerError(ClusterError):
    """This worker has another rszsl or another model: its units belong elsewhere."""


class ModelSource(Protocol):
    """Where a worker finds the model. Travels by pickle, so it holds names and hashes, never weights."""

    @property
    def digest(self) -> str:
        """What the model must be: a hash of its card, which holds the hashes of its files."""
        ...

    @property
    def precision(self) -> str:
        """What it shall run in, as in `--precision`."""
        ...

    def load(self, device: str) -> "Model":
        """Load it, or raise `ModelError` where it is missing or another one."""
        ...

    def found(self) -> str:
        """Digest of what is there under its name on this machine, without loading it; may raise `ModelError`."""
        ...


@dataclass(frozen=True, slots=True)
class Brief:
    """What all units of a batch share.

    Attributes:
        batch: names this run; workers keep open scenes by it.
        source: where the model is.
        classes: what to find.
        options: how scenes are read, tiled and labelled.
        strip_tiles: about how many tiles make a strip; None leaves it to the worker's device.
        version: of rszsl; a worker of another one refuses.
        own_rows: the user's own rows of classes; they stand in a file that workers may not see.
        environment: GDAL's and credentials' variables; never shown.
    """

    batch: str
    source: ModelSource
    classes: tuple[ClassName, ...]
    options: MapOptions
    strip_tiles: int | None
    version: str
    own_rows: Overrides | None = field(default=None, repr=False, hash=False, compare=False)
    environment: Mapping[str, str] = field(default_factory=dict, repr=False, hash=False, compare=False)


@dataclass(frozen=True, slots=True)
class Strip:
    """Tile rows `first_row <= row < stop_row` of a scene, and how many planned tiles they hold."""

    first_row: int
    stop_row: int
    tiles: int


@dataclass(frozen=True, slots=True)
class Unit:
    """One piece of work: a scene, or one strip of it.

    Attributes:
        scene: number in the manifest.
        path: what rasterio opens.
        strip: None for a scene that nobody has opened yet: a small one is labelled whole, a large one only planned.
    """

    scene: int
    path: str
    strip: Strip | None = None

    @property
    def name(self) -> str:
        """Short, unique within the batch: `17`, `17.240` (first row of the strip)."""
        return str(self.scene) if self.strip is None else f"{self.scene}.{self.strip.first_row}"


@dataclass(frozen=True, slots=True)
class SceneFacts:
    """What the first worker that opens a scene learns of it.

    Attributes:
        key: grid, place, radiometry and fingerprint of the scene.
        strips: one for a scene that is labelled whole.
        warnings: for the user.
        planned: bits of the grid's planned tiles; None where all are.
    """

    key: "CacheKey"
    strips: tuple[Strip, ...]
    warnings: tuple[str, ...]
    planned: bytes | None = None

    @property
    def tiles(self) -> int:
        """Planned tiles of the scene."""
        return sum(strip.tiles for strip in self.strips)

    def tile_ids(self, strip: Strip) -> NDArray[np.int64]:
        """Planned tiles of a strip: int64 (n,), ascending."""
        grid = self.key.grid
        first, stop = strip.first_row * grid.shape[1], strip.stop_row * grid.shape[1]
        if self.planned is None:
            return np.arange(first, stop, dtype="int64")
        bits = np.unpackbits(np.frombuffer(self.planned, dtype="uint8"), count=len(grid))
        return first + np.flatnonzero(bits[first:stop]).astype("int64")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a unit came to.

    Attributes:
        fingerprint: of the scene as this worker found it.
        worker: its address.
        device: where the model ran.
        seconds: on the worker.
        facts: of the scene, from the unit that opened it first.
        labels: Arrow IPC, see `rszsl.batch.exchange`; None where the scene was only planned.
    """

    fingerprint: str
    worker: str
    device: str
    seconds: float
    facts: SceneFacts | None = None
    labels: bytes | None = field(default=None, repr=False)


def cut_rows(tiles_in_row: NDArray[np.int64], strip_tiles: int) -> tuple[Strip, ...]:
    """Cut a scene into strips of whole tile rows with about `strip_tiles` planned tiles each.

    Args:
        tiles_in_row: int64 (rows,), planned tiles of each tile row.
        strip_tiles: at least 1.

    Returns:
        One strip for a scene of up to `SPLIT_FROM * strip_tiles`; rows without a planned tile belong to none
        where they stand at a strip's beginning.
    """
    total = int(tiles_in_row.sum())
    if total <= SPLIT_FROM * strip_tiles:
        return (Strip(0, len(tiles_in_row), total),)
    strips: list[Strip] = []
    first = tiles = 0
    for row, count in enumerate(tiles_in_row.tolist()):
        if not tiles:
            first = row
        tiles += count
        if tiles >= strip_tiles or (row == len(tiles_in_row) - 1 and tiles):
            strips.append(Strip(first, row + 1, tiles))
            tiles = 0
    return tuple(strips)


def failed_labels(tile_ids: NDArray[np.int64], reason: str) -> SceneLabels:
    """Labels of tiles that no worker could deal with: all `failed`, for this reason."""
    labels = SceneLabels(tile_ids)
    labels.status[:] = STATUSES.index(Status.FAILED)
    labels.valid_fraction[:] = 0
    labels.failures.update(dict.fromkeys(range(len(tile_ids)), reason))
    return labels
