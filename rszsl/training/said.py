"""What a trained model says of the images that it did not learn from."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rszsl.model.bundle import DsvaModel
from rszsl.training.folds import Flags
from rszsl.training.knowledge import Knowledge
from rszsl.zsl.calibrate import Cases, make_cases

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Said:
    """What a fold's model says.

    Attributes:
        known: what it was taught.
        model: as a user loads it.
        asked: bool (N,), of which images.
        attributes: float32 (n, K), of those, unit length.
    """

    known: Knowledge
    model: DsvaModel
    asked: Flags
    attributes: Floats

    def of(self, wanted: Flags) -> Floats:
        """Attributes of some of the images that were asked; `wanted` is (N,)."""
        return self.attributes[wanted[self.asked]]

    def unseen_cases(self) -> Cases:
        """Ask of every image whether it shows each unseen concept, by name."""
        names = self.known.fold.unseen
        return self._cases(names, np.stack([self.model.text.text_row(name) for name in names]))

    def taught_cases(self) -> Cases:
        """Ask of every image whether it shows each concept that images taught."""
        names = self.known.seen
        return self._cases(names, np.stack([self.model.text.phrase_row(name) for name in names]))

    def _cases(self, names: Sequence[str], rows: Floats) -> Cases:
        truth = self.known.concepts[self.asked]
        return make_cases(self.attributes, truth, names, rows, self.model.background_rows)
