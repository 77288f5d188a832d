"""Teacher embeddings: the CLIP vision tower over every training image, cached on disk.

The tower is read from a local folder (transformers layout). Each finished shard is kept, so an interrupted run
goes on where it stopped.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from rszsl.model.towers.clip import CLIP_MEAN, CLIP_STD
from rszsl.training.data import LabelledImage

SIDE_PX = 224
SHARD = 480


def preprocess(path: Path) -> Tensor:
    """Read one image as CLIP does: bicubic short side 224, centre crop, CLIP mean and std.

    Returns:
        float32 (3, 224, 224), normalised.
    """
    with Image.open(path) as opened:
        image = opened.convert("RGB")
    scale = SIDE_PX / min(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
    left, top = (image.width - SIDE_PX) // 2, (image.height - SIDE_PX) // 2
    pixels = np.asarray(image.crop((left, top, left + SIDE_PX, top + SIDE_PX)), dtype="float32") / 255
    return (
        torch.from_numpy((pixels - np.array(CLIP_MEAN, "float32")) / np.array(CLIP_STD, "float32"))
        .permute(2, 0, 1)
        .contiguous()
    )


def load_tower(folder: Path) -> Callable[[Tensor], Tensor]:
    """Load a CLIP vision tower; the returned function maps normalised pixels to unit embeddings in bf16 precision."""
    from transformers import CLIPVisionModelWithProjection

    tower: Any = CLIPVisionModelWithProjection.from_pretrained(folder)
    tower.eval().to(torch.bfloat16)

    def embed(pixels: Tensor) -> Tensor:
        with torch.inference_mode():
            embeds = tower(pixels.to(torch.bfloat16)).image_embeds
        return torch.nn.functional.normalize(embeds.float(), dim=-1)

    return embed


def cache_embeddings(
    images: Sequence[LabelledImage],
    tower: Path,
    cache: Path,
    *,
    batch_size: int = 16,
    log: Callable[[str], None] = print,
) -> NDArray[np.float32]:
    """Embed `images` in order, a shard of 480 at a time, under the folder `cache`.

    Returns:
        float32 (N, D), rows of unit length.
    """
    cache.mkdir(parents=True, exist_ok=True)
    embed: Callable[[Tensor], Tensor] | None = None
    shards: list[NDArray[np.float32]] = []
    for start in range(0, len(images), SHARD):
        part = images[start : start + SHARD]
        file = cache / f"{start:06d}-{len(part)}.npy"
        if not file.exists():
            embed = embed or load_tower(tower)
            rows = [
                embed(torch.stack([preprocess(i.path) for i in part[b : b + batch_size]])).numpy()
                for b in range(0, len(part), batch_size)
            ]
            temporary = file.with_suffix(".tmp.npy")
            np.save(temporary, np.concatenate(rows).astype("float16"))
            temporary.replace(file)
            log(f"teacher: {start + len(part)} of {len(images)} images")
        shards.append(np.load(file).astype("float32"))
    return np.concatenate(shards)
