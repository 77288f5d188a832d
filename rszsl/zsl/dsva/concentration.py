"""Attention concentration: where to look a second time (METHOD B.5). Nothing here has a gradient."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

Box = tuple[int, int, int, int]
"""(row0, col0, row1, col1), half open, in pixels of the map."""
EIGHT_NEIGHBOURS = np.ones((3, 3), dtype=bool)


def best_of_groups(scores: Tensor, groups: Sequence[Sequence[int]]) -> Tensor:
    """Name the attribute of each group that an image shows most.

    Args:
        scores: (N, K), a_l.
        groups: columns of each of G groups.

    Returns:
        int64 (N, G), columns.
    """
    picks = [torch.tensor(g, device=scores.device)[scores[:, list(g)].argmax(1)] for g in groups]
    return torch.stack(picks, dim=1)


def saliency(maps: Tensor, chosen: Tensor, side: int) -> Tensor:
    """Average the chosen maps, each enlarged and stretched to 0..1.

    Args:
        maps: (N, K, g, g).
        chosen: int64 (N, G), from `best_of_groups`.
        side: S, of the result, in pixels.

    Returns:
        (N, S, S) in 0..1.
    """
    picked = torch.take_along_dim(maps, chosen[:, :, None, None], dim=1)
    large = functional.interpolate(picked, size=(side, side), mode="bilinear", align_corners=True)
    low, high = large.amin((2, 3), keepdim=True), large.amax((2, 3), keepdim=True)
    return ((large - low) / (high - low).clamp(min=1e-12)).mean(1)


def box_of(image: NDArray[np.floating], threshold: float) -> Box:
    """Bound the largest connected part (8 neighbours) of what exceeds `threshold` times the mean.

    Args:
        image: (S, S), one saliency.
        threshold: 1.0 as published.

    Returns:
        The box; the whole image where nothing exceeds.
    """
    labels, count = ndimage.label(image > threshold * image.mean(), structure=EIGHT_NEIGHBOURS)
    if not count:
        return 0, 0, *image.shape
    largest = 1 + int(np.argmax(np.bincount(labels.ravel())[1:]))
    rows, cols = ndimage.find_objects(labels)[largest - 1]
    return rows.start, cols.start, rows.stop, cols.stop


def concentrate(
    maps: Tensor, scores: Tensor, groups: Sequence[Sequence[int]], side: int, threshold: float
) -> list[Box]:
    """Find the box of each image in which its most telling attributes are seen.

    Args:
        maps: (N, K, g, g).
        scores: (N, K).
        groups: columns of each group.
        side: of the input, in pixels.
        threshold: see `box_of`.
    """
    with torch.no_grad():
        salient = saliency(maps, best_of_groups(scores, groups), side).float().cpu().numpy()
    return [box_of(image, threshold) for image in salient]


def crop(pixels: Tensor, boxes: Sequence[Box]) -> Tensor:
    """Cut each box out of normalised pixels (N, 3, P, P) and enlarge it to (P, P), bilinear."""
    parts = [
        functional.interpolate(one[None, :, r0:r1, c0:c1], size=one.shape[1:], mode="bilinear", align_corners=True)
        for one, (r0, c0, r1, c1) in zip(pixels, boxes, strict=True)
    ]
    return torch.cat(parts)


def inside(boxes: Sequence[Box], grid: int, side: int) -> Tensor:
    """Mark the patches whose centre lies in the box: bool (N, grid * grid), at least one a box.

    A frozen tower whose tokens are kept cannot look again; it looks at these tokens.
    """
    centres = (torch.arange(grid) + 0.5) * side / grid
    marks = []
    for r0, c0, r1, c1 in boxes:
        rows, cols = (centres >= r0) & (centres < r1), (centres >= c0) & (centres < c1)
        mask = rows[:, None] & cols[None, :]
        if not mask.any():  # a box narrower than a patch
            row, col = ((r0 + r1) / 2 * grid / side, (c0 + c1) / 2 * grid / side)
            mask[min(int(row), grid - 1), min(int(col), grid - 1)] = True
        marks.append(mask.flatten())
    return torch.stack(marks)
