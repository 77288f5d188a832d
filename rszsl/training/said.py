"""What a trained model says of the images that it did not learn from."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rszsl.model.bundle import DsvaModel
from rszsl.training.folds import Flags
from rszsl.training.knowledge import Knowledge
from rszsl.zsl.calibrate import Cases, make_cases

Floats = NDArray[np.float32]
VIEWS_SHOWN = 8
"""As by `--views`, for figures beside those of one view."""


@dataclass(frozen=True, slots=True, eq=False)
class Said:
    """What a fold's model says.

    Attributes:
        known: what it was taught.
        model: as a user loads it.
        attributes: float32 (n, K), of the images that are asked (`Parts.asked`), unit length.
        of_views: the same, where it is shown `VIEWS_SHOWN` views of each image; None where it was not.
    """

    known: Knowledge
    model: DsvaModel
    attributes: Floats
    of_views: Floats | None

    @property
    def in_views(self) -> "Said | None":
        """What it says of several views of each image, if it was asked."""
        return None if self.of_views is None else replace(self, attributes=self.of_views)

    def of(self, wanted: Flags) -> Floats:
        """Attributes of some of the images that were asked; `wanted` is (N,)."""
        return self.attributes[wanted[self.known.parts.asked]]

    def unseen_cases(self, without: Sequence[str] = ()) -> Cases:
        """Ask of every image whether it shows each unseen concept, by name; leave out the concepts `without`."""
        parts = self.known.parts
        names = [name for name in self.known.fold.unseen if name not in without]
        rows = np.stack([self.model.text.text_row(name) for name in names])
        return self._cases(names, rows, (parts.unseen | parts.kept_out) & ~np.isin(self.known.concepts, without))

    def taught_cases(self, without: Sequence[str] = ()) -> Cases:
        """Ask of images that were kept out whether they show each concept that images taught, but those `without`."""
        return self._taught(self.known.seen, self.known.parts.kept_out, without)

    def foreign_cases(self, without: Sequence[str] = ()) -> Cases | None:
        """Ask of every image of a set that the model never saw whether it shows a taught concept of that set.

        None where it learnt from all sets.
        """
        parts = self.known.parts
        names = sorted(set(self.known.concepts[parts.foreign].tolist()))
        return self._taught(names, parts.foreign | parts.unseen, without) if names else None

    def _taught(self, names: Sequence[str], wanted: Flags, without: Sequence[str]) -> Cases:
        names = [name for name in names if name not in without]
        wanted = wanted & ~np.isin(self.known.concepts, without)
        return self._cases(names, np.stack([self.model.text.phrase_row(name) for name in names]), wanted)

    def _cases(self, names: Sequence[str], rows: Floats, wanted: Flags) -> Cases:
        return make_cases(self.of(wanted), self.known.concepts[wanted], names, rows, self.model.background_rows)
