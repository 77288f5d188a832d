"""Pixels of one tile: arithmetic on arrays, the same for a tile read alone and one cut from a larger read."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.float32] | NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Tile:
    """Pixels of one window, resampled.

    Attributes:
        image: float32 (3, H, W) in 0..1, or uint8 in 0..255 (`Scene.read_pixels` of an 8-bit scene), red, green,
            blue; invalid pixels hold the mean of the valid ones (of 8-bit scenes: rounded to 1/255).
        valid: bool (H, W); False is nodata, masked, NaN, or outside the scene.
    """

    image: Pixels
    valid: NDArray[np.bool_]

    @property
    def valid_fraction(self) -> float:
        """Share of valid pixels, 0..1."""
        return float(self.valid.mean())


def fill_invalid(image: Pixels, valid: NDArray[np.bool_]) -> Pixels:
    """Give invalid pixels the mean of the valid ones, band by band (the middle of the range where there is none)."""
    if valid.all():
        return image
    is_bytes = image.dtype == np.uint8
    if valid.any():
        mean = image[:, valid].mean(axis=1)
    else:
        mean = np.full(len(image), 127.5 if is_bytes else 0.5, dtype="float32")
    filling = (np.round(mean) if is_bytes else mean).astype(image.dtype)
    return np.where(valid, image, filling[:, None, None])


def padded(array: NDArray[Any], height_px: int, width_px: int) -> NDArray[Any]:
    """Add zeros below and to the right: (..., h, w) to (..., H, W)."""
    missing = (height_px - array.shape[-2], width_px - array.shape[-1])
    if missing == (0, 0):
        return array
    return np.pad(array, (*[(0, 0)] * (array.ndim - 2), (0, missing[0]), (0, missing[1])))


def as_floats(image: Pixels) -> NDArray[np.float32]:
    """Bytes to 0..1, as the model does it."""
    if image.dtype != np.uint8:
        return image.astype("float32", copy=False)
    return np.divide(image, np.float32(255), dtype="float32")
