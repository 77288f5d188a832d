"""How a model wants a whole image: resize, centre crop, mean and std, as its own processor does, on its device.

Tiles of a map are read at the model's input size, so that of all this only mean and std are left for them; torchvision,
which takes seconds to import, is not.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

from rszsl.errors import ModelError

Bytes = NDArray[np.uint8]
TWO_PASS = frozenset({"bicubic", "bilinear"})


SHORT_SIDE = 256 / 224
"""The short side that training brings images to, in sides of the crop that it shows (METHOD B.1)."""


@dataclass(frozen=True, slots=True)
class Preprocess:
    """What a processor does to an image, in this order.

    Attributes:
        resize: `shortest` scales the short side to `resize_px`, `squash` both sides, `none` leaves the image.
        resize_px: the side that `resize` scales to.
        crop_px: side of the square cut from the centre; None for no crop.
        interpolation: as torchvision names it (`bicubic`, `bilinear`, ...); with antialias, on 8 bits.
        pillow: whether it resizes as Pillow does (open_clip) or as torchvision does with tensors (transformers). They
            differ by one grey level here and there; and by where an odd number of pixels goes at a crop.
        mean: of each band, taken off pixels in 0..1.
        std: of each band, divided by.
    """

    resize: Literal["shortest", "squash", "none"]
    resize_px: int
    crop_px: int | None
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str = "bicubic"
    pillow: bool = False

    @property
    def input_px(self) -> int:
        """Side of what comes out."""
        return self.crop_px or self.resize_px


def fit_images(images: Sequence[Bytes], how: Preprocess, device: torch.device) -> Tensor:
    """Resize and crop whole images on the device.

    Args:
        images: uint8 (H, W, 3) each, RGB; sizes may differ.
        how: of the model.
        device: where the work is done.

    Returns:
        float32 (N, 3, P, P) in 0..1, P = `how.input_px`.
    """
    fitted = [_fit(torch.from_numpy(image).to(device).permute(2, 0, 1), how) for image in images]
    return torch.stack(fitted).float() / 255


def short_side_px(input_px: int) -> int:
    """Give the short side of an image of which training shows a crop of `input_px`."""
    return round(input_px * SHORT_SIDE)


def normalise(pixels: Tensor, how: Preprocess) -> Tensor:
    """Take off the mean and divide by std: (N, 3, P, P) in 0..1 -> the same shape."""
    mean = torch.tensor(how.mean, device=pixels.device)[:, None, None]
    std = torch.tensor(how.std, device=pixels.device)[:, None, None]
    return (pixels - mean).div_(std)


def read_image(path: Path) -> Bytes:
    """Read a picture file as uint8 (H, W, 3), RGB.

    Raises:
        ModelError: where it is none.
    """
    try:
        with Image.open(path) as opened:
            return np.array(opened.convert("RGB"))
    except (OSError, Image.DecompressionBombError) as err:
        raise ModelError(f"cannot read {path} as a picture: {err}; give JPEG, PNG, TIFF or WebP files") from err


def _fit(image: Tensor, how: Preprocess) -> Tensor:
    if how.resize != "none":
        image = _resized(image, _target(image, how), how)
    if how.crop_px is not None:
        image = _crop(image, how.crop_px, round if how.pillow else int)
    if image.shape[-2:] != (how.input_px, how.input_px):
        raise ModelError(
            f"an image of {image.shape[-1]} x {image.shape[-2]} px does not fit a model that resizes nothing"
        )
    return image


def _target(image: Tensor, how: Preprocess) -> tuple[int, int]:
    """Height and width after the resize; the long side is rounded down, as everywhere."""
    height, width = image.shape[-2:]
    side = how.resize_px
    if how.resize == "squash":
        return side, side
    return (side, int(side * width / height)) if height <= width else (int(side * height / width), side)


def _resized(image: Tensor, size: tuple[int, int], how: Preprocess) -> Tensor:
    if how.pillow and how.interpolation in TWO_PASS:
        across = _stretched(image, (image.shape[-2], size[1]), how.interpolation)
        return _stretched(across, size, how.interpolation)
    from torchvision.transforms.v2 import InterpolationMode
    from torchvision.transforms.v2 import functional as tv

    resized: Tensor = tv.resize(image, list(size), interpolation=InterpolationMode(how.interpolation), antialias=True)
    return resized


def _stretched(image: Tensor, size: tuple[int, int], mode: str) -> Tensor:
    """One of Pillow's two passes, rounded to 8 bits, halves up.

    Newer Pillows go down before across for some tall images that are squashed: then a few pixels differ by a level.
    """
    if tuple(image.shape[-2:]) == size:
        return image
    floats = functional.interpolate(image[None].float(), size, mode=mode, antialias=True, align_corners=False)
    return (floats[0] + 0.5).floor().clamp(0, 255).to(torch.uint8)


def _crop(image: Tensor, side: int, whole: Callable[[float], int]) -> Tensor:
    from torchvision.transforms.v2 import functional as tv

    height, width = image.shape[-2:]
    missing_x, missing_y = max(0, side - width), max(0, side - height)
    if missing_x or missing_y:
        image = tv.pad(image, [missing_x // 2, missing_y // 2, (missing_x + 1) // 2, (missing_y + 1) // 2])
        height, width = image.shape[-2:]
    cut: Tensor = tv.crop(image, whole((height - side) / 2), whole((width - side) / 2), side, side)
    return cut
