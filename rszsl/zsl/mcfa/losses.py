"""What MCFA is asked to do (METHOD E.4, arXiv 2306.06066): each term a pure function, summed over the batch.

z_i is the latent of image i (N, L), u_c that of class c of the episode (C, L), `truth` int64 (N,) the class of each
image as a row of u. The contrastive terms compare latents of unit length.
"""

from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True, slots=True)
class Weights:
    """How much each term counts; a term of weight 0 is not computed. The defaults are the paper's."""

    reconstruction: float = 1.0
    divergence: float = 1.0
    cross: float = 10.0
    alignment: float = 1.0
    v2v: float = 100.0
    v2s: float = 100.0
    s2v: float = 10.0


TERMS = tuple(field.name for field in fields(Weights))
CONTRASTIVE = ("v2v", "v2s", "s2v")


def absolute_error(truth: Tensor, decoded: Tensor) -> Tensor:
    """Sum |x - D(z)|; reconstruction and cross reconstruction are made of it."""
    return (truth - decoded).abs().sum()


def divergence(mean: Tensor, logvar: Tensor) -> Tensor:
    """Sum the Kullback-Leibler divergence of N(mean, exp(logvar)) from N(0, 1)."""
    return -0.5 * (1 + logvar - mean.square() - logvar.exp()).sum()


def alignment(mean: Tensor, logvar: Tensor, class_mean: Tensor, class_logvar: Tensor) -> Tensor:
    """Sum the 2-Wasserstein distance of each image's distribution from that of its own class, all (N, L)."""
    spread = torch.exp(logvar / 2) - torch.exp(class_logvar / 2)
    distance: Tensor = torch.linalg.vector_norm(torch.cat([mean - class_mean, spread], dim=1), dim=1)
    return distance.sum()


def visual_to_visual(z: Tensor, truth: Tensor, temperature: float) -> Tensor:
    """Contrast each image with the others: mean over its own class, against the sum over all but itself."""
    z = functional.normalize(z)
    likeness = torch.exp(z @ z.T / temperature)
    others = 1 - torch.eye(len(z), dtype=z.dtype, device=z.device)
    own = (truth[:, None] == truth).to(z.dtype) * others
    positive = (likeness * own).sum(dim=1) / own.sum(dim=1)
    return _contrast(positive, (likeness * others).sum(dim=1))


def visual_to_semantic(z: Tensor, u: Tensor, truth: Tensor, temperature: float) -> Tensor:
    """Contrast each image with the classes: its own against the sum over all."""
    logits = functional.normalize(z) @ functional.normalize(u).T / temperature
    return functional.cross_entropy(logits, truth, reduction="sum")


def semantic_to_visual(z: Tensor, u: Tensor, truth: Tensor, temperature: float) -> Tensor:
    """Contrast each class with the images: mean over its own, against the sum over all."""
    likeness = torch.exp(functional.normalize(u) @ functional.normalize(z).T / temperature)
    own = (torch.arange(len(u), device=u.device)[:, None] == truth).to(z.dtype)
    return _contrast((likeness * own).sum(dim=1) / own.sum(dim=1), likeness.sum(dim=1))


def _contrast(positive: Tensor, total: Tensor) -> Tensor:
    return (total.log() - positive.log()).sum()
