"""Training of the two autoencoders (METHOD E.3 to E.5)."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from rszsl.errors import TrainingError
from rszsl.zsl.mcfa import losses
from rszsl.zsl.mcfa.episodes import SHOTS, draw_episodes, members_of
from rszsl.zsl.mcfa.losses import Weights
from rszsl.zsl.mcfa.networks import Mcfa, Noise
from rszsl.zsl.problem import Floats, Indices


@dataclass(frozen=True, slots=True)
class Recipe:
    """How the autoencoders are trained; the defaults are the paper's.

    Attributes:
        weights: of the terms.
        temperature: of the contrastive terms.
        noise: how latents are drawn.
        same_positions: whether the classes of an episode give images at the same places.
        rate: learning rate of Adam (AMSGrad, no decay).
        epochs: passes over the images.
        iterations: episodes an epoch; None: images / 25.
        every: epochs between two candidates; the last epoch is one too.
    """

    weights: Weights = field(default_factory=Weights)
    temperature: float = 2.0
    noise: Noise = "scalar"
    same_positions: bool = True
    rate: float = 1.5e-4
    epochs: int = 50
    iterations: int | None = None
    every: int = 10


@dataclass(frozen=True, slots=True, eq=False)
class Stage:
    """The networks after an epoch (they go on changing when the next stage is asked for), and its mean loss."""

    epoch: int
    networks: Mcfa
    loss: float


def train(visual: Floats, truth: Indices, rows: Floats, recipe: Recipe, seed: int) -> Iterator[Stage]:
    """Train, stopping for each stage.

    Args:
        visual: float32 (n, E), images to learn from, each dimension within 0..1.
        truth: int64 (n,), row of each image's class; every row has an image.
        rows: float32 (C, K), class rows.
        recipe: how.
        seed: of the weights, the episodes and the noise.

    Raises:
        TrainingError: where the loss is not finite.
    """
    generator, rng = torch.Generator().manual_seed(seed), np.random.default_rng(seed)
    networks = Mcfa(visual.shape[1], rows.shape[1], generator)
    optimiser = torch.optim.Adam(networks.parameters(), lr=recipe.rate, amsgrad=True, fused=True)
    images, classes, members = torch.from_numpy(visual), torch.from_numpy(rows), members_of(truth, rng)
    iterations = recipe.iterations or max(1, len(visual) // 25)
    for epoch in range(1, recipe.epochs + 1):
        episodes = draw_episodes(members, iterations, recipe.same_positions, rng)
        total = torch.zeros(())
        for ids, chosen in zip(torch.from_numpy(episodes.images), torch.from_numpy(episodes.classes), strict=True):
            loss = episode_loss(networks, images[ids], classes[chosen], recipe, generator)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            total += loss.detach()
        mean = float(total) / iterations
        if not math.isfinite(mean):
            raise TrainingError(f"the loss of MCFA is {mean} in epoch {epoch}; lower the learning rate {recipe.rate:g}")
        if epoch % recipe.every == 0 or epoch == recipe.epochs:
            yield Stage(epoch, networks, mean)


def episode_loss(networks: Mcfa, x: Tensor, s: Tensor, recipe: Recipe, generator: torch.Generator) -> Tensor:
    """Add up the weighted terms of one episode.

    Args:
        networks: both autoencoders.
        x: (C * 5, E), five images for each class, in the order of `s`.
        s: (C, K), rows of the classes.
        recipe: of the weights, the temperature and the noise.
        generator: of the noise.
    """
    truth = torch.arange(len(s)).repeat_interleave(SHOTS)
    seen, meant = networks.visual.encode(x), networks.semantic.encode(s)
    z, u = seen.sample(recipe.noise, generator), meant.sample(recipe.noise, generator)
    images, latents = len(z), torch.cat([z, u])
    x_decoded, s_decoded = networks.visual.decode(latents), networks.semantic.decode(latents)
    terms: dict[str, Callable[[], Tensor]] = {
        "reconstruction": lambda: (
            losses.absolute_error(x, x_decoded[:images]) + losses.absolute_error(s, s_decoded[images:])
        ),
        "divergence": lambda: losses.divergence(seen.mean, seen.logvar) + losses.divergence(meant.mean, meant.logvar),
        "cross": lambda: (
            losses.absolute_error(x, x_decoded[images + truth]) + losses.absolute_error(s[truth], s_decoded[:images])
        ),
        "alignment": lambda: losses.alignment(seen.mean, seen.logvar, meant.mean[truth], meant.logvar[truth]),
        "v2v": lambda: losses.visual_to_visual(z, truth, recipe.temperature),
        "v2s": lambda: losses.visual_to_semantic(z, u, truth, recipe.temperature),
        "s2v": lambda: losses.semantic_to_visual(z, u, truth, recipe.temperature),
    }
    weighed = ((getattr(recipe.weights, term), value) for term, value in terms.items())
    return sum((weight * value() for weight, value in weighed if weight), torch.zeros(()))
