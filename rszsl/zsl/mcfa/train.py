"""Training of the two autoencoders (METHOD E.3 to E.5)."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch

from rszsl.errors import TrainingError
from rszsl.zsl.mcfa.episodes import draw_episodes, members_of
from rszsl.zsl.mcfa.networks import Networks
from rszsl.zsl.mcfa.step import Objective, episode_loss
from rszsl.zsl.problem import Floats, Indices


@dataclass(frozen=True, slots=True)
class Recipe:
    """How the autoencoders are trained; the defaults are the paper's.

    Attributes:
        goal: what is asked of the autoencoders.
        balanced: whether class rows lose their mean and are scaled until both sides weigh the same in the loss; a
            short row of unit length says next to nothing there otherwise.
        same_positions: whether the classes of an episode give images at the same places.
        rate: learning rate of Adam (AMSGrad, no decay).
        epochs: passes over the images.
        iterations: episodes an epoch; None: images / 25.
        every: epochs between two candidates; the last epoch is one too.
    """

    goal: Objective = field(default_factory=Objective)
    balanced: bool = False
    same_positions: bool = True
    rate: float = 1.5e-4
    epochs: int = 50
    iterations: int | None = None
    every: int = 10


@dataclass(frozen=True, slots=True, eq=False)
class Stage:
    """The networks after an epoch (they go on changing when the next stage is asked for), and its mean loss."""

    epoch: int
    networks: Networks
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
    networks = Networks(visual.shape[1], rows.shape[1], generator)
    networks.flat.grad = networks.slopes
    optimiser = torch.optim.Adam([networks.flat], lr=recipe.rate, amsgrad=True, fused=True)
    images, classes, members = torch.from_numpy(visual), torch.from_numpy(rows), members_of(truth, rng)
    iterations = recipe.iterations or max(1, len(visual) // 25)
    for epoch in range(1, recipe.epochs + 1):
        episodes = draw_episodes(members, iterations, recipe.same_positions, rng)
        total = torch.zeros(())
        for ids, chosen in zip(torch.from_numpy(episodes.images), torch.from_numpy(episodes.classes), strict=True):
            total += episode_loss(networks, images[ids], classes[chosen], recipe.goal, generator)
            optimiser.step()
        mean = float(total) / iterations
        if not math.isfinite(mean):
            raise TrainingError(f"the loss of MCFA is {mean} in epoch {epoch}; lower the learning rate {recipe.rate:g}")
        if epoch % recipe.every == 0 or epoch == recipe.epochs:
            yield Stage(epoch, networks, mean)
