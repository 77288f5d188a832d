"""What is made from kept tokens: fewer of them, or in the space of the tower's embedding."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from rszsl.model.towers.tower import Tower, TowerSpec
from rszsl.zsl.towers.cache import TowerFeatures

STEP = 256


def pool_patches(tokens: Tensor, spec: TowerSpec, grid: int) -> Tensor:
    """Average the patches of (N, T, D) on a coarser grid: (N, prefix + grid * grid, D); the prefix stays.

    ViT-B/16 has 14 x 14 patches; on 7 x 7 it has the tokens of the ViT-B/32 that DSVA was published with, at a quarter
    of the cost.
    """
    patches = tokens[:, spec.prefix :].transpose(1, 2)
    patches = patches.reshape(len(tokens), -1, spec.grid, spec.grid)
    pooled = functional.adaptive_avg_pool2d(patches, grid)
    return torch.cat([tokens[:, : spec.prefix], pooled.flatten(2).transpose(1, 2)], dim=1)


def derive_tokens(
    features: TowerFeatures, tower: Tower, file: Path, grid: int, *, aligned: bool
) -> NDArray[np.float16]:
    """Make and keep tokens on a coarser grid, memory-mapped; an existing file is only opened.

    Args:
        features: the kept tokens.
        tower: that they came from.
        file: `.npy`, to keep them in; its name should say `grid` and `aligned`.
        grid: patches a side.
        aligned: pass every token through the tower's own final norm and projection first, so that it lies in the
            space of the embedding, where text vectors lie as well.

    Returns:
        float16 (N, prefix + grid * grid, D or E).
    """
    if file.exists():
        return np.load(file, mmap_mode="r")  # type: ignore[no-any-return]
    change: Callable[[Tensor], Tensor] = tower.align if aligned else lambda tokens: tokens
    width = tower.width(aligned=aligned)
    temporary = file.with_suffix(".tmp.npy")
    shape = (len(features.tokens), tower.spec.prefix + grid**2, width)
    out: np.memmap[Any, np.dtype[np.float16]] = np.lib.format.open_memmap(temporary, "w+", "float16", shape)
    with torch.inference_mode():
        for start in range(0, len(out), STEP):
            tokens = torch.from_numpy(np.asarray(features.tokens[start : start + STEP], dtype="float32"))
            out[start : start + STEP] = pool_patches(change(tokens), tower.spec, grid).half().numpy()
    out.flush()
    temporary.replace(file)
    return np.load(file, mmap_mode="r")  # type: ignore[no-any-return]
