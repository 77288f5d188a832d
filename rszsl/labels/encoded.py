"""What the model said of a batch of tiles: all that is needed to label them, now or again."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Halves = NDArray[np.float16]


@dataclass(frozen=True, slots=True, eq=False)
class EncodedTiles:
    """N tiles after the encoder.

    Labels are always computed from these halves, so a map from a cache equals a map from the scene.

    Attributes:
        tile_ids: int64 (N,), numbers in the grid.
        valid_fraction: float32 (N,) in 0..1.
        failures: for each tile, why it could not be read, or None.
        encoded: bool (N,); False for a tile that failed or is nodata: its rows below are zeros.
        embedding: float16 (N, D), rows of unit length.
        attributes: float16 (N, K), rows of unit length.
    """

    tile_ids: NDArray[np.int64]
    valid_fraction: NDArray[np.float32]
    failures: tuple[str | None, ...]
    encoded: NDArray[np.bool_]
    embedding: Halves
    attributes: Halves

    def __len__(self) -> int:
        return len(self.tile_ids)
