"""The trunk in two parts: the lower one stays as it was trained on ImageNet, the upper one learns.

The lower part costs most of the time and changes least, so its output is computed once for a few augmented views of
every image and kept; training then starts from there.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from rszsl.errors import TrainingError
from rszsl.model.backbone import fold_batch_norms
from rszsl.model.precision import multiplies_bf16
from rszsl.model.towers.clip import CLIP_MEAN, CLIP_STD, Triple
from rszsl.model.vit import WIDTH, VitTrunk
from rszsl.training.data import LabelledImage
from rszsl.zsl.runs.weights import TRUNK_MEAN, TRUNK_STD

LOWER_BLOCKS = 4
"""Stages of the trunk that stay fixed; after them the map has `LOWER_CHANNELS` at a stride of `LOWER_STRIDE_PX`."""
LOWER_STRIDE_PX, LOWER_CHANNELS = 16, 80
UPPER_OUTPUTS = (4, 6)
"""Stages after which the trunk gives a map: the last of stride 16 and of stride 32."""
Kept = np.memmap[Any, np.dtype[np.float16]]
MIN_CROP_AREA = 0.3
LIGHT_JITTER, COLOUR_JITTER = 0.25, 0.2
"""Largest change of brightness and contrast, and of colour, of a view, as a factor."""
STEP, STEPS_KEPT = 16, 50
"""Images at once, and how many such steps lie between two lines of the log; an interrupted run goes on from there."""


def run_lower(trunk: nn.Module, pixels: Tensor) -> Tensor:
    """Run the fixed part: normalised pixels (N, 3, P, P) -> `lower_shape`."""
    if isinstance(trunk, VitTrunk):
        return trunk.lower(pixels)
    x: Tensor = trunk.bn1(trunk.conv_stem(pixels))  # type: ignore[operator]
    for stage in list(trunk.blocks)[:LOWER_BLOCKS]:  # type: ignore[arg-type]
        x = stage(x)
    return x


def run_upper(trunk: nn.Module, features: Tensor) -> list[Tensor]:
    """Run the part that learns: what `run_lower` gives -> the trunk's maps, the last one at the tokens' stride."""
    if isinstance(trunk, VitTrunk):
        return trunk.upper(features)
    maps = []
    for number, stage in enumerate(list(trunk.blocks)[LOWER_BLOCKS:], LOWER_BLOCKS):  # type: ignore[arg-type]
        features = stage(features)
        if number in UPPER_OUTPUTS:
            maps.append(features)
    return maps


def upper_parameters(trunk: nn.Module) -> list[nn.Parameter]:
    """List the parameters that learn."""
    if isinstance(trunk, VitTrunk):
        return trunk.upper_parameters()
    return [p for stage in list(trunk.blocks)[LOWER_BLOCKS:] for p in stage.parameters()]  # type: ignore[arg-type]


def lower_shape(trunk: nn.Module, side_px: int) -> tuple[int, ...]:
    """Shape of what the fixed part says of a view: a map (80, G, G), or tokens (1 + G * G, 768)."""
    grid = side_px // LOWER_STRIDE_PX
    return (1 + grid * grid, WIDTH) if isinstance(trunk, VitTrunk) else (LOWER_CHANNELS, grid, grid)


def pixel_scale(*, vit: bool) -> tuple[Triple, Triple]:
    """Mean and standard deviation of each band that the initial weights of a ViT trunk, or of the other, want."""
    return (CLIP_MEAN, CLIP_STD) if vit else (TRUNK_MEAN, TRUNK_STD)


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


def plain_pixels(images: Sequence[LabelledImage], side_px: int, *, vit: bool) -> Tensor:
    """Show whole images as the trunk wants them: normalised, float32 (N, 3, side_px, side_px)."""
    return _normalised([plain_view(read_square(image.path), side_px) for image in images], vit=vit)


def _normalised(shown: Sequence[Tensor], *, vit: bool) -> Tensor:
    mean, std = (torch.tensor(each)[:, None, None] for each in pixel_scale(vit=vit))
    return (torch.stack(list(shown)) - mean) / std


def random_view(image: Image.Image, side_px: int, rng: np.random.Generator) -> Tensor:
    """Show a random square part, turned, mirrored, lighter or paler: float32 (3, side_px, side_px) in 0..1."""
    part = float(np.sqrt(rng.uniform(MIN_CROP_AREA, 1)))
    left, top = rng.uniform(0, 1 - part, 2).tolist()
    box = tuple(edge * image.width for edge in (left, top, left + part, top + part))
    pixels = _pixels(image.resize((side_px, side_px), Image.Resampling.BICUBIC, box=box))
    pixels = torch.rot90(pixels, int(rng.integers(4)), (1, 2))
    if rng.random() < 0.5:
        pixels = pixels.flip(2)
    gain, lift = rng.uniform(1 - LIGHT_JITTER, 1 + LIGHT_JITTER, 2).tolist()
    colour = float(rng.uniform(1 - COLOUR_JITTER, 1 + COLOUR_JITTER))
    middle = pixels.mean()
    pixels = ((pixels - middle) * gain + middle) * lift
    grey = pixels.mean(0, keepdim=True)
    changed: Tensor = grey + (pixels - grey) * colour
    return changed.clamp(0, 1)


def _pixels(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.asarray(image, dtype="float32") / 255).permute(2, 0, 1)


def cache_features(
    images: Sequence[LabelledImage], trunk: nn.Module, side_px: int, views: int, seed: int, file: Path,
    log: Callable[[str], None],
) -> Tensor:  # fmt: skip
    """Run the lower trunk over views of each image, or open what was kept; the first view shows the image as it is.

    An interrupted run is taken up again.

    Args:
        images: N of them; their order and number must be those of the file where there is one.
        trunk: with the weights that stay fixed; it is changed.
        side_px: of a view.
        views: how many, V.
        seed: of the random ones; those of an image do not depend on the other images.
        file: `.npy`, to keep them in.
        log: takes one line at a time.

    Returns:
        float16 (N, V) and the shape of `lower_shape`, memory-mapped.
    """
    shape = (len(images), views, *lower_shape(trunk, side_px))
    if not file.exists():
        trunk = trunk.eval().to(memory_format=torch.channels_last)
        fold_batch_norms(trunk)
        temporary, noted = file.with_suffix(".tmp.npy"), file.with_suffix(".rows")
        out, first = _open_part(temporary, noted, shape)
        for start in range(first, len(images), STEP):
            part = images[start : start + STEP]
            out[start : start + STEP] = _lower_of(part, start, trunk, side_px, views, seed)
            if (start // STEP + 1) % STEPS_KEPT == 0:
                log(f"features: {start + len(part)} of {len(images)} images")
                out.flush()
                noted.write_text(str(start + len(part)), encoding="utf-8")
        out.flush()
        temporary.replace(file)
        noted.unlink(missing_ok=True)
    kept = np.load(file, mmap_mode="c")
    if kept.shape != shape:
        raise TrainingError(f"{file} holds {kept.shape} features, the recipe wants {shape}; delete it")
    return torch.from_numpy(kept)


def _open_part(file: Path, noted: Path, shape: tuple[int, ...]) -> tuple[Kept, int]:
    """Open a file of features to be filled, and say how many images an interrupted run has left in it."""
    if file.exists() and noted.exists() and (kept := np.lib.format.open_memmap(file, "r+")).shape == shape:
        return kept, int(noted.read_text(encoding="utf-8"))
    noted.unlink(missing_ok=True)
    file.parent.mkdir(parents=True, exist_ok=True)
    return np.lib.format.open_memmap(file, "w+", "float16", shape), 0


def _lower_of(
    images: Sequence[LabelledImage], first: int, trunk: nn.Module, side_px: int, views: int, seed: int
) -> NDArray[np.float16]:
    shown = []
    for number, image in enumerate(images, first):
        square = read_square(image.path)
        shown.append(plain_view(square, side_px))
        shown += [random_view(square, side_px, np.random.default_rng([seed, number, v])) for v in range(1, views)]
    pixels = _normalised(shown, vit=isinstance(trunk, VitTrunk)).contiguous(memory_format=torch.channels_last)
    # Without instructions for it bf16 takes eight times as long as fp32.
    half = multiplies_bf16(torch.device("cpu"))
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=half):
        features = run_lower(trunk, pixels)
    return features.to(torch.float16).contiguous().view(len(images), views, *features.shape[1:]).numpy()
