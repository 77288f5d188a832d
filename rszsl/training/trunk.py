"""The trunk in two parts: the lower one stays as it was trained on ImageNet, the upper one learns.

The lower part costs most of the time and changes least, so its output is computed once for a few augmented views of
every image and kept; training then starts from there.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from rszsl.training.data import LabelledImage
from rszsl.zsl.runs.weights import TRUNK_MEAN, TRUNK_STD

LOWER_BLOCKS = 4
"""Stages of the trunk that stay fixed; after them the map has 80 channels at a stride of 16 px."""
MIN_CROP_AREA = 0.45
JITTER = 0.2
"""Largest change of brightness and contrast of a view, as a factor."""


def run_lower(trunk: nn.Module, pixels: Tensor) -> Tensor:
    """Run the fixed part: normalised pixels (N, 3, P, P) -> (N, 80, P / 16, P / 16)."""
    x: Tensor = trunk.bn1(trunk.conv_stem(pixels))  # type: ignore[operator]
    for stage in list(trunk.blocks)[:LOWER_BLOCKS]:  # type: ignore[arg-type]
        x = stage(x)
    return x


def run_upper(trunk: nn.Module, features: Tensor) -> Tensor:
    """Run the part that learns: (N, 80, P / 16, P / 16) -> (N, 320, P / 32, P / 32)."""
    for stage in list(trunk.blocks)[LOWER_BLOCKS:]:  # type: ignore[arg-type]
        features = stage(features)
    return features


def upper_parameters(trunk: nn.Module) -> list[nn.Parameter]:
    """List the parameters that learn."""
    return [p for stage in list(trunk.blocks)[LOWER_BLOCKS:] for p in stage.parameters()]  # type: ignore[arg-type]


def read_square(path: Path) -> Image.Image:
    """Read the central square of an image, RGB."""
    with Image.open(path) as opened:
        image = opened.convert("RGB")
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side))


def plain_view(image: Image.Image, side_px: int) -> Tensor:
    """Show the whole image: float32 (3, side_px, side_px) in 0..1."""
    return _pixels(image.resize((side_px, side_px), Image.Resampling.BICUBIC))


def random_view(image: Image.Image, side_px: int, rng: np.random.Generator) -> Tensor:
    """Show a random square part, turned, mirrored, lighter or darker: float32 (3, side_px, side_px) in 0..1."""
    part = max(8, round(image.width * float(np.sqrt(rng.uniform(MIN_CROP_AREA, 1)))))
    left, top = rng.integers(0, image.width - part + 1, size=2).tolist()
    box = (left, top, left + part, top + part)
    pixels = _pixels(image.resize((side_px, side_px), Image.Resampling.BICUBIC, box=box))
    pixels = torch.rot90(pixels, int(rng.integers(4)), (1, 2))
    if rng.random() < 0.5:
        pixels = pixels.flip(2)
    gain, lift = rng.uniform(1 - JITTER, 1 + JITTER, size=2)
    middle = pixels.mean()
    changed: Tensor = ((pixels - middle) * float(gain) + middle) * float(lift)
    return changed.clamp(0, 1)


def _pixels(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.asarray(image, dtype="float32") / 255).permute(2, 0, 1)


def cache_features(images: Sequence[LabelledImage], trunk: nn.Module, side_px: int, views: int, seed: int) -> Tensor:
    """Run the lower trunk over views of each image; the first shows the whole image as it is.

    Returns:
        float16 (N, views, 80, side_px / 16, side_px / 16).
    """
    rng = np.random.default_rng(seed)
    mean, std = torch.tensor(TRUNK_MEAN)[:, None, None], torch.tensor(TRUNK_STD)[:, None, None]
    trunk = trunk.eval().to(memory_format=torch.channels_last)
    out: list[Tensor] = []
    for start in range(0, len(images), 16):
        squares = [read_square(image.path) for image in images[start : start + 16]]
        shown = [
            plain_view(square, side_px) if view == 0 else random_view(square, side_px, rng)
            for square in squares
            for view in range(views)
        ]
        pixels = ((torch.stack(shown) - mean) / std).contiguous(memory_format=torch.channels_last)
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            features = run_lower(trunk, pixels)
        out.append(features.to(torch.float16).contiguous().view(len(squares), views, *features.shape[1:]))
    return torch.cat(out)
