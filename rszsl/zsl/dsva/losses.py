"""The loss terms of DSVA (METHOD B.4, B.6)."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from rszsl.zsl.dsva.recipe import DsvaRecipe, LossMode

GROUP_EPS = 1e-12


def class_loss(scores: Tensor, truth: Tensor, recipe: DsvaRecipe) -> Tensor:
    """Cross-entropy of class scores (N, C) against int64 (N,).

    As published, the softmax is taken for logits and softmaxed again: at chance the loss is ln C, and its floor, for a
    softmax that puts all on the truth, is ln(1 + (C - 1) / e).
    """
    if recipe.loss is LossMode.DOUBLE_SOFTMAX:
        return functional.cross_entropy(scores.softmax(-1), truth)
    return functional.cross_entropy(scores / recipe.temperature, truth)


def compactness_loss(maps: Tensor) -> Tensor:
    """Sum over images and attributes of sigmoid(M) times the squared distance, in patches, to the map's maximum.

    Args:
        maps: (N, K, G, G).
    """
    side = maps.shape[-1]
    best = maps.flatten(2).argmax(-1)
    steps = torch.arange(side, device=maps.device)
    row, col = (best // side)[..., None], (best % side)[..., None]
    # Separable: the sum over i, j of s_ij (di + dj) is that of row sums times di plus column sums times dj.
    weight = torch.sigmoid(maps)
    return (weight.sum(-1) * (steps - row) ** 2).sum() + (weight.sum(-2) * (steps - col) ** 2).sum()


def group_penalty(weights: Tensor, groups: Sequence[Sequence[int]]) -> Tensor:
    """Sum over groups of the Frobenius norm of their block of weights (K, D).

    As published; its parent work (APN) meant the sum over the D columns of each block's norms.
    """
    norms = [(weights[list(group)] ** 2).sum().add(GROUP_EPS).sqrt() for group in groups]
    return torch.stack(norms).sum() if norms else weights.new_zeros(())


def anchor_loss(weights: Sequence[Tensor], anchors: Sequence[Tensor]) -> Tensor:
    """Squared distance to where the weights started, relative to the squared length there; mean over the parts."""
    parts = [((w - a) ** 2).sum() / (a**2).sum().clamp(min=1e-12) for w, a in zip(weights, anchors, strict=True)]
    return torch.stack(parts).mean()
