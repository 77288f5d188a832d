"""The loss of an episode and its slopes by all weights: the chain rule of METHOD E.2 to E.4, written out."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from rszsl.zsl.mcfa import losses
from rszsl.zsl.mcfa.episodes import SHOTS
from rszsl.zsl.mcfa.losses import Weights
from rszsl.zsl.mcfa.networks import Autoencoder, Latent, Networks, Noise, latent_of


@dataclass(frozen=True, slots=True)
class Objective:
    """What is asked for: weights of the terms, temperature of the contrastive ones, and how latents are drawn."""

    weights: Weights = field(default_factory=Weights)
    temperature: float = 2.0
    noise: Noise = "scalar"


def episode_loss(networks: Networks, x: Tensor, s: Tensor, goal: Objective, generator: torch.Generator) -> Tensor:
    """Add up the weighted terms of one episode, and leave their slopes in `networks.slopes`.

    Args:
        networks: both autoencoders.
        x: (C * 5, E), five images for each class, in the order of `s`.
        s: (C, K), rows of the classes.
        goal: what is asked for.
        generator: of the noise.
    """
    truth, images = torch.arange(len(s)).repeat_interleave(SHOTS), len(x)
    x_hidden, x_outcome = networks.visual.encoder.run(x)
    s_hidden, s_outcome = networks.semantic.encoder.run(s)
    seen, meant = latent_of(x_outcome), latent_of(s_outcome)
    spread = torch.cat([seen.spread(goal.noise, generator), meant.spread(goal.noise, generator)])
    latents = torch.cat([seen.mean, meant.mean]) + spread

    x_loss, by_latents = _decoded(networks.visual, latents, x, torch.arange(images), images + truth, goal.weights)
    own = images + torch.arange(len(s))
    s_loss, by_latents_too = _decoded(networks.semantic, latents, s, own, torch.arange(images), goal.weights, truth)
    by_latents += by_latents_too
    contrast = _contrasts(latents[:images], latents[images:], truth, goal, by_latents)

    by_logvar = by_latents * spread if goal.noise == "scalar" else by_latents * spread / 2
    by_outcome = torch.cat([by_latents, by_logvar], dim=1)
    shape = _distributions(seen, meant, truth, goal.weights, by_outcome)
    networks.visual.encoder.back(x, x_hidden, by_outcome[:images])
    networks.semantic.encoder.back(s, s_hidden, by_outcome[images:])
    return x_loss + s_loss + contrast + shape


def _decoded(
    coder: Autoencoder,
    latents: Tensor,
    rows: Tensor,
    own: Tensor,
    other: Tensor,
    weights: Weights,
    order: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Reconstruct and cross-reconstruct one side.

    Args:
        coder: of that side.
        latents: (N + C, L), of images, then of classes.
        rows: what has to come out.
        own: the latents of `rows` themselves.
        other: the latents of the other side, whose target is `rows`, or `rows[order]`.
        weights: of both terms.
        order: see `other`.

    Returns:
        the loss, and its slope by the latents.
    """
    hidden, decoded = coder.decoder.run(latents)
    loss, slope = losses.absolute_error(rows, decoded[own])
    cross, cross_slope = losses.absolute_error(rows if order is None else rows[order], decoded[other])
    by_decoded = torch.zeros_like(decoded)
    by_decoded.index_add_(0, own, slope, alpha=weights.reconstruction)
    by_decoded.index_add_(0, other, cross_slope, alpha=weights.cross)
    by_hidden = coder.decoder.back(latents, hidden, by_decoded)
    return weights.reconstruction * loss + weights.cross * cross, by_hidden @ coder.decoder.first.T


def _contrasts(z: Tensor, u: Tensor, truth: Tensor, goal: Objective, by_latents: Tensor) -> Tensor:
    """Add up the contrastive terms, and their slopes to `by_latents` (N + C, L)."""
    weights, total = goal.weights, torch.zeros(())
    if not (weights.v2v or weights.v2s or weights.s2v):
        return total
    (z, z_lengths), (u, u_lengths) = losses.normalised(z), losses.normalised(u)
    by_z, by_u = torch.zeros_like(z), torch.zeros_like(u)
    if weights.v2v:
        loss, slope = losses.visual_to_visual(z, truth, goal.temperature)
        total, by_z = total + weights.v2v * loss, by_z.add_(slope, alpha=weights.v2v)
    pairs = (weights.v2s, losses.visual_to_semantic), (weights.s2v, losses.semantic_to_visual)
    for weight, term in pairs:
        if weight:
            loss, slope, u_slope = term(z, u, truth, goal.temperature)
            total, by_z, by_u = total + weight * loss, by_z.add_(slope, alpha=weight), by_u.add_(u_slope, alpha=weight)
    by_latents[: len(z)] += losses.before_normalising(by_z, z, z_lengths)
    by_latents[len(z) :] += losses.before_normalising(by_u, u, u_lengths)
    return total


def _distributions(seen: Latent, meant: Latent, truth: Tensor, weights: Weights, by_outcome: Tensor) -> Tensor:
    """Add up divergence and alignment, and their slopes to `by_outcome` (N + C, 2 L)."""
    images = len(truth)
    total = torch.zeros(())
    for side, part in ((seen, by_outcome[:images]), (meant, by_outcome[images:])):
        loss, *slopes = losses.divergence(side.mean, side.logvar)
        total = total + weights.divergence * loss
        part.add_(torch.cat(slopes, dim=1), alpha=weights.divergence)
    loss, by_mean, by_logvar, by_class_logvar = losses.alignment(
        seen.mean, seen.logvar, meant.mean[truth], meant.logvar[truth]
    )
    by_outcome[:images].add_(torch.cat([by_mean, by_logvar], dim=1), alpha=weights.alignment)
    by_class = torch.cat([-by_mean, by_class_logvar], dim=1)
    by_outcome[images:].index_add_(0, truth, by_class, alpha=weights.alignment)
    return total + weights.alignment * loss
