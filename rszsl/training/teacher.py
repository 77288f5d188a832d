"""The teacher's word on every image: embeddings of the CLIP ViT-B/16 image tower, cached on disk by image set."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from rszsl.model.precision import multiplies_bf16
from rszsl.model.text import unit
from rszsl.model.towers.clip import load_clip
from rszsl.training.data import LabelledImage
from rszsl.zsl.towers.cache import cache_features


def teacher_embeddings(
    images: Sequence[LabelledImage], tower: Path, cache: Path, log: Callable[[str], None]
) -> NDArray[np.float32]:
    """Embed images, or read what an earlier run kept; an interrupted run goes on.

    Args:
        images: N of them, of any sets; each set is cached as a whole, in the order of its paths.
        tower: CLIP image tower as transformers keeps it.
        cache: folder, with one of its own for each set.
        log: takes one line at a time.

    Returns:
        float32 (N, 512), rows of unit length.

    Raises:
        TrainingError: where the cache is of other images or another tower.
    """
    loaded = load_clip(tower)
    # Without instructions for it bf16 takes eight times as long as fp32.
    precision = torch.bfloat16 if multiplies_bf16(torch.device("cpu")) else torch.float32
    rows: dict[Path, NDArray[np.float32]] = {}
    for set_name in dict.fromkeys(image.set_name for image in images):
        paths = sorted(image.path for image in images if image.set_name == set_name)
        kept = cache_features(loaded, paths, cache / set_name, precision=precision, keep_tokens=False, log=log)
        rows |= zip(paths, unit(np.asarray(kept.embeddings, dtype="float32")), strict=True)
    return np.stack([rows[image.path] for image in images])
