"""Images as a tower wants them."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from rszsl.errors import TrainingError
from rszsl.model.towers.tower import TowerSpec


def read_rgb(path: Path) -> Image.Image:
    """Read a whole image, RGB.

    Raises:
        TrainingError: where it cannot be read.
    """
    try:
        with Image.open(path) as opened:
            return opened.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as err:
        raise TrainingError(f"cannot read the image {path}: {err}; take it away, or put a whole one there") from err


def test_view(image: Image.Image, spec: TowerSpec) -> Tensor:
    """Resize the short side (bicubic), crop the centre, normalise: float32 (3, P, P)."""
    side = spec.input_px
    scale = side / min(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return normalised(image.crop((left, top, left + side, top + side)), spec)


def normalised(image: Image.Image, spec: TowerSpec) -> Tensor:
    """Turn an image of the right size into normalised pixels: float32 (3, H, W)."""
    pixels = torch.from_numpy(np.asarray(image, dtype="float32") / 255).permute(2, 0, 1)
    mean, std = torch.tensor(spec.mean)[:, None, None], torch.tensor(spec.std)[:, None, None]
    return ((pixels - mean) / std).contiguous()
