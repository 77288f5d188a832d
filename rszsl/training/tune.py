"""Train a whole ViT trunk, every weight of it, before it is rounded.

Images in any of their eight turns, at the size of a tile, are to say what CLIP's own tower says of them upright and at
its full size. All folds share one trunk, so it learns only from images that every one of them learns from. CLIP's own
projection reads it; an attribute's score is a linear function of the embedding, so the losses of DSVA (METHOD B.6)
apply as they are, but for those of the maps, which the trunk does not have.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from rszsl.model.vit import VitTrunk
from rszsl.training.data import LabelledImage
from rszsl.training.files import save_torch
from rszsl.training.losses import Lesson, LossWeights, compatibility_loss, cosine_distance
from rszsl.training.schedule import TuningRecipe, cosine_factor
from rszsl.training.trunk import plain_pixels

Floats = NDArray[np.float32]
STEPS_KEPT = 25
"""Steps between two lines of the log; an interrupted run goes on from there."""
TURNS = 8
"""Quarter turns of an image and of its mirror image: from above, none is upright."""


@dataclass(frozen=True, slots=True, eq=False)
class Tower:
    """A trunk and how it is read.

    Attributes:
        trunk: of which every weight learns.
        projection: (E, 768), CLIP's, from the normalised first token to an embedding; it stays as it is.
        readout: (E + 1, K), from a unit embedding and a 1 to standardised attribute scores.
    """

    trunk: VitTrunk
    projection: Tensor
    readout: Tensor

    def embed(self, pixels: Tensor) -> Tensor:
        """Give unit embeddings (N, E) of normalised pixels (N, 3, P, P)."""
        first, _ = self.trunk(pixels)
        return functional.normalize(first[:, :, 0, 0] @ self.projection.T, dim=-1)

    def scores(self, embeddings: Tensor) -> Tensor:
        """Give attribute scores (N, K) of unit embeddings (N, E)."""
        return embeddings @ self.readout[:-1] + self.readout[-1]


def fit_readout(embeddings: Floats, scores: Floats) -> Tensor:
    """Find the linear function by which scores (N, K) come of embeddings (N, E): float32 (E + 1, K)."""
    ones = np.ones((len(embeddings), 1), "float32")
    found = np.linalg.lstsq(np.concatenate([embeddings, ones], 1).astype("float64"), scores, rcond=None)[0]
    return torch.from_numpy(found.astype("float32"))


def tower_loss(tower: Tower, pixels: Tensor, lesson: Lesson, weights: LossWeights) -> Tensor:
    """Add up the terms of `total_loss` that a tower has."""
    embedding = tower.embed(pixels)
    scores = tower.scores(embedding)
    said, wanted = (each - lesson.embedding_mean for each in (embedding, lesson.embedding))
    return (
        weights.distillation * cosine_distance(said @ lesson.whiten_embedding, wanted @ lesson.whiten_embedding)
        + weights.regression * functional.mse_loss(scores, lesson.attributes)
        + weights.direction
        * cosine_distance(scores @ lesson.whiten_attributes, lesson.attributes @ lesson.whiten_attributes)
        + weights.compatibility * compatibility_loss(scores, lesson, weights.temperature)
    )


def turned(pixels: Tensor, turn: int) -> Tensor:
    """Give one of the eight turns of (3, P, P)."""
    return torch.rot90(pixels.flip(2) if turn >= TURNS // 2 else pixels, turn % (TURNS // 2), (1, 2))


def tune_trunk(
    tower: Tower, images: Sequence[LabelledImage], lesson: Lesson, how: TuningRecipe, weights: LossWeights,
    *, side_px: int, seed: int, file: Path, watch: Callable[[], str], log: Callable[[str], None],
) -> None:  # fmt: skip
    """Train a trunk in place.

    Args:
        tower: the trunk and how it is read.
        images: N, to learn from.
        lesson: of these N.
        how: its schedule.
        weights: of the losses.
        side_px: of a tile.
        seed: of order and turns.
        file: takes the state every so many steps; an interrupted run goes on from it.
        watch: says how well it does at the end.
        log: takes one line at a time.
    """
    optimizer = torch.optim.AdamW(tower.trunk.parameters(), lr=how.lr, weight_decay=0.0)
    batches = _batches(len(images), how, seed)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: cosine_factor(step, len(batches), max(1, len(batches) // 10))
    )
    first = _resume(file, tower, optimizer, schedule)
    log(f"trunk: {len(images)} images, {len(batches)} steps, from step {first}; {watch()}")
    started, total = time.monotonic(), 0.0
    for step, (drawn, turns) in enumerate(batches[first:], first + 1):
        pixels = plain_pixels([images[i] for i in drawn], side_px, vit=True)
        pixels = torch.stack([turned(each, int(turn)) for each, turn in zip(pixels, turns, strict=True)])
        loss = tower_loss(tower, pixels, lesson.of(torch.from_numpy(drawn)), weights)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(tower.trunk.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        total += float(loss.detach())
        if step % STEPS_KEPT == 0 or step == len(batches):
            state = {"step": step, "trunk": tower.trunk.state_dict(), "optimizer": optimizer.state_dict()}
            save_torch(file, {**state, "schedule": schedule.state_dict()})
            log(f"trunk: step {step} of {len(batches)}: loss {total / (step - first):.4f}, "
                f"{(time.monotonic() - started) / (step - first):.1f} s a step")  # fmt: skip
    log(f"trunk: trained; {watch()}")


def _batches(count: int, how: TuningRecipe, seed: int) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Draw images and their turns for every step, whether or not the run is interrupted."""
    rng, whole = np.random.default_rng(seed), count // how.batch_size * how.batch_size
    drawn = np.concatenate([rng.permutation(count)[:whole] for _ in range(how.epochs)])
    turns = rng.integers(TURNS, size=len(drawn))
    steps = len(drawn) // how.batch_size
    return list(zip(np.split(drawn, steps), np.split(turns, steps), strict=True))


def _resume(
    file: Path, tower: Tower, optimizer: torch.optim.Optimizer, schedule: torch.optim.lr_scheduler.LRScheduler
) -> int:
    if not file.exists():
        return 0
    state = torch.load(file, weights_only=True)
    tower.trunk.load_state_dict(state["trunk"])
    optimizer.load_state_dict(state["optimizer"])
    schedule.load_state_dict(state["schedule"])
    return int(state["step"])


@torch.inference_mode()
def nearness(tower: Tower, images: Sequence[LabelledImage], embeddings: Floats, mean: Floats, side_px: int) -> float:
    """Say how near a trunk comes to the teacher on N plain images: the mean cosine of embeddings less their mean.

    Args:
        tower: the trunk and how it is read.
        images: N of them.
        embeddings: (N, E), the teacher's of these.
        mean: (E,), the teacher's, of the images that are learnt from.
        side_px: of a tile.
    """
    said = torch.cat([tower.embed(plain_pixels([image], side_px, vit=True)) for image in images])
    wanted = torch.from_numpy(embeddings - mean)
    return 1 - float(cosine_distance(said - torch.from_numpy(mean), wanted))
