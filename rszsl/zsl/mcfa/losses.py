"""What MCFA is asked to do (METHOD E.4, arXiv 2306.06066): each term a pure function, summed over the batch.

Each gives its value and its slopes, since a training step without autograd takes half the time. z_i is the latent of
image i (N, L), u_c that of class c of the episode (C, L), `truth` int64 (N,) the class of each image as a row of u. The
contrastive terms take latents of unit length.
"""

from dataclasses import dataclass, fields

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Weights:
    """How much each term counts; contrastive terms of weight 0 are not computed. The defaults are the paper's."""

    reconstruction: float = 1.0
    divergence: float = 1.0
    cross: float = 10.0
    alignment: float = 1.0
    v2v: float = 100.0
    v2s: float = 100.0
    s2v: float = 10.0


TERMS = tuple(field.name for field in fields(Weights))
CONTRASTIVE = ("v2v", "v2s", "s2v")


def absolute_error(truth: Tensor, decoded: Tensor) -> tuple[Tensor, Tensor]:
    """Sum |x - D(z)|, of which reconstruction and cross reconstruction are made; slope by the decoded rows."""
    gap = decoded - truth
    return gap.abs().sum(), gap.sign()


def divergence(mean: Tensor, logvar: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Sum the Kullback-Leibler divergence of N(mean, exp(logvar)) from N(0, 1); slopes by both."""
    excess = logvar.exp() - 1
    return 0.5 * (mean.square() + excess - logvar).sum(), mean, 0.5 * excess


def alignment(
    mean: Tensor, logvar: Tensor, class_mean: Tensor, class_logvar: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Sum the 2-Wasserstein distance of each image's distribution from that of its own class, all (N, L).

    Slopes by mean, logvar and class_logvar; that by class_mean is less that by mean. Of equal distributions they are 0.
    """
    spread, class_spread = torch.exp(logvar / 2), torch.exp(class_logvar / 2)
    by_mean, by_spread = mean - class_mean, spread - class_spread
    distance = (by_mean.square() + by_spread.square()).sum(dim=1, keepdim=True).sqrt()
    scale = 1 / distance.clamp(min=1e-12)
    by_spread = by_spread * scale / 2
    return distance.sum(), by_mean * scale, by_spread * spread, -by_spread * class_spread


def visual_to_visual(z: Tensor, truth: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Contrast each image with the others: mean over its own class, against the sum over all but itself."""
    others = 1 - torch.eye(len(z), dtype=z.dtype)
    own = (truth[:, None] == truth) * others
    loss, slope = _contrast(torch.exp(z @ z.T / temperature) * others, own)
    return loss, (slope + slope.T) @ z / temperature


def visual_to_semantic(z: Tensor, u: Tensor, truth: Tensor, temperature: float) -> tuple[Tensor, Tensor, Tensor]:
    """Contrast each image with the classes: its own against the sum over all."""
    own = (truth[:, None] == torch.arange(len(u))).to(z.dtype)
    loss, slope = _contrast(torch.exp(z @ u.T / temperature), own)
    return loss, slope @ u / temperature, slope.T @ z / temperature


def semantic_to_visual(z: Tensor, u: Tensor, truth: Tensor, temperature: float) -> tuple[Tensor, Tensor, Tensor]:
    """Contrast each class with the images: mean over its own, against the sum over all."""
    own = (torch.arange(len(u))[:, None] == truth).to(z.dtype)
    loss, slope = _contrast(torch.exp(u @ z.T / temperature), own)
    return loss, slope.T @ u / temperature, slope @ z / temperature


def normalised(latents: Tensor) -> tuple[Tensor, Tensor]:
    """Give rows of unit length and their lengths (n, 1)."""
    lengths = latents.norm(dim=1, keepdim=True).clamp(min=1e-12)
    return latents / lengths, lengths


def before_normalising(by_unit: Tensor, unit: Tensor, lengths: Tensor) -> Tensor:
    """Turn the slope by rows of unit length into that by the rows as they were."""
    return (by_unit - unit * (by_unit * unit).sum(dim=1, keepdim=True)) / lengths


def _contrast(likeness: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
    """Sum -log(mean of a row's own / sum of the row); slope by the logarithm of `likeness`."""
    positive, total = (likeness * own).sum(dim=1, keepdim=True), likeness.sum(dim=1, keepdim=True)
    loss = (total.log() - positive.log() + own.sum(dim=1, keepdim=True).log()).sum()
    return loss, likeness * (1 / total - own / positive)
