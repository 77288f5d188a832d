"""Changes of a picture that its caption still fits."""

import re

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as tv

from rszsl.model.preprocess import Bytes, Preprocess, fit_images

SIDES = re.compile(r"\b(left|right|west|east|western|eastern)\b", re.IGNORECASE)
HEIGHTS = re.compile(
    r"\b(top|bottom|upper|lower|above|below|north|south|northern|southern|vertical\w*|horizontal\w*)\b", re.IGNORECASE
)
PLACES = re.compile(r"\b(corner|edge|side|sides|middle|center|centre|central|surrounded|half)\b", re.IGNORECASE)
NUMBERS = re.compile(r"\b(a|an|one|two|three|four|five|six|seven|eight|nine|ten|single|several|\d+)\b", re.IGNORECASE)
DARKNESS = re.compile(r"\b(dark|bright|light|white|black|pale)\b", re.IGNORECASE)
MIN_AREA = 0.7


def augment(image: Bytes, caption: str, how: Preprocess, rng: np.random.Generator) -> Tensor:
    """Change a picture at random, as its caption allows, and fit it to a model.

    A caption with left or right forbids mirrors across, one with top or bottom mirrors down; either forbids quarter
    turns. Places and numbers forbid cutting a part out; words of brightness forbid changing it. Hues never change.

    Args:
        image: uint8 (H, W, 3), RGB.
        caption: of the picture.
        how: of the model.
        rng: decides.

    Returns:
        float32 (3, P, P) in 0..1.
    """
    sides, heights = SIDES.search(caption) is not None, HEIGHTS.search(caption) is not None
    pixels = torch.from_numpy(image).permute(2, 0, 1)
    if not (sides or heights or PLACES.search(caption) or NUMBERS.search(caption)):
        pixels = _part(pixels, rng)
    fitted = fit_images([np.ascontiguousarray(pixels.permute(1, 2, 0).numpy())], how, torch.device("cpu"))[0]
    if not sides and rng.random() < 0.5:
        fitted = fitted.flip(-1)
    if not heights and rng.random() < 0.5:
        fitted = fitted.flip(-2)
    if not sides and not heights:
        fitted = torch.rot90(fitted, int(rng.integers(0, 4)), (-2, -1))
    if DARKNESS.search(caption) is None:
        fitted = (fitted * float(rng.uniform(0.85, 1.15))).clamp(0, 1)
    return fitted.contiguous()


def _part(pixels: Tensor, rng: np.random.Generator) -> Tensor:
    height, width = pixels.shape[-2:]
    share = float(np.sqrt(rng.uniform(MIN_AREA, 1.0)))
    rows, cols = max(1, round(height * share)), max(1, round(width * share))
    top, left = int(rng.integers(0, height - rows + 1)), int(rng.integers(0, width - cols + 1))
    cut: Tensor = tv.resized_crop(
        pixels, top, left, rows, cols, [height, width], InterpolationMode.BICUBIC, antialias=True
    )
    return cut
