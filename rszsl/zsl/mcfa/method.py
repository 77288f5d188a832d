"""MCFA as a method of the comparison: features and rows in, scores of all classes out."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch

from rszsl.errors import OptionError
from rszsl.zsl.baselines.scaling import seen_positions
from rszsl.zsl.mcfa.classifier import (
    SEEN_DRAWS,
    UNSEEN_ALONE,
    UNSEEN_DRAWS,
    classify,
    draw_semantic,
    draw_visual,
    fit_classifier,
    joined,
)
from rszsl.zsl.mcfa.episodes import members_of
from rszsl.zsl.mcfa.losses import CONTRASTIVE, TERMS
from rszsl.zsl.mcfa.networks import Networks
from rszsl.zsl.mcfa.step import Objective
from rszsl.zsl.mcfa.train import Recipe, Stage, train
from rszsl.zsl.problem import Candidate, Floats, Indices, Problem

PASSES = ((2, 1), (10, 5), (25, 12), (50, 23))
"""Passes of the classifier of unseen classes and of that of all; the last are the paper's."""
PAPER = Recipe()
OURS = Recipe(
    Objective(temperature=0.1, noise="standard"), balanced=True, same_positions=False, rate=1e-3, epochs=20, every=5
)


@dataclass(frozen=True, slots=True)
class McfaMethod:
    """MCFA (arXiv 2306.06066) on cached features.

    Attributes:
        mode: `paper`, the published recipe (METHOD E) to the letter, its scalar noise included; `rszsl`, with what is
            mended in `OURS`.
        without: terms of the loss that are left out, of `losses.TERMS`; `losses.CONTRASTIVE` for the ablation.
        recipe: instead of the mode's.
    """

    mode: Literal["paper", "rszsl"] = "rszsl"
    without: tuple[str, ...] = ()
    recipe: Recipe | None = None

    def __post_init__(self) -> None:
        unknown = sorted(set(self.without) - set(TERMS))
        if unknown:
            raise OptionError(f"MCFA has no term {', '.join(unknown)}; its terms are {', '.join(TERMS)}")

    @property
    def name(self) -> str:
        """As `mcfa (paper)` or `mcfa (rszsl) without v2v`."""
        missing = "contrastive terms" if set(self.without) == set(CONTRASTIVE) else ", ".join(self.without)
        return f"mcfa ({self.mode})" + (f" without {missing}" if missing else "")

    def candidates(self, problem: Problem, ask: Indices, seed: int) -> Iterator[Candidate]:
        """Yield every stage of the autoencoders with every number of passes of the classifier.

        Raises:
            TrainingError: where the loss is not finite.
        """
        recipe = self.recipe or (PAPER if self.mode == "paper" else OURS)
        weights = replace(recipe.goal.weights, **dict.fromkeys(self.without, 0.0))
        recipe = replace(recipe, goal=replace(recipe.goal, weights=weights))
        learn, asked = min_max(problem.features.embedding[problem.fit], problem.features.embedding[ask])
        truth, rows = seen_positions(problem), problem.table.rows
        rows = balanced_rows(rows, problem.seen, learn) if recipe.balanced else rows
        problem = replace(problem, table=replace(problem.table, rows=rows))
        for stage in train(learn, truth, rows[problem.seen], recipe, seed):
            yield from self._classified(stage, problem, learn, truth, asked, recipe, seed)

    def _classified(
        self, stage: Stage, problem: Problem, learn: Floats, truth: Indices, asked: Floats, recipe: Recipe, seed: int
    ) -> Iterator[Candidate]:
        """Train both classifiers on the latents of a stage and yield a candidate for each number of passes."""
        networks, noise = stage.networks, recipe.goal.noise
        generator = torch.Generator().manual_seed(seed)
        rows = problem.table.rows[problem.unseen]
        members = members_of(truth, np.random.default_rng(seed))
        alone = draw_semantic(networks, rows, UNSEEN_ALONE, noise, generator)
        unseen = draw_semantic(networks, rows, UNSEEN_DRAWS, noise, generator)
        seen = draw_visual(networks, learn, members, SEEN_DRAWS, noise, generator)
        latents = visual_means(networks, asked)
        everyone, width = np.concatenate([problem.seen, problem.unseen]), len(problem.table.rows)
        maps = [
            fit_classifier(drawn, [both[i] for both in PASSES], np.random.default_rng([seed, i]))
            for i, drawn in enumerate((alone, joined(seen, unseen)))
        ]
        for (few, many), by_unseen, by_all in zip(PASSES, *maps, strict=True):
            yield Candidate(
                setting=f"epoch={stage.epoch} passes={few}/{many}",
                scores=_spread(classify(latents, by_all), everyone, width),
                among_unseen=_spread(classify(latents, by_unseen), problem.unseen, width),
                extra={"loss": stage.loss},
            )


def min_max(learn: Floats, asked: Floats) -> tuple[Floats, Floats]:
    """Scale each dimension to 0..1 by its range in the images to learn from; other images may lie outside."""
    low = learn.min(axis=0)
    span = np.maximum(learn.max(axis=0) - low, np.float32(1e-12))
    return (learn - low) / span, (asked - low) / span


def balanced_rows(rows: Floats, seen: Indices, learn: Floats) -> Floats:
    """Centre class rows (C, K) on the seen ones, and scale them until they deviate as much in sum as images do.

    Args:
        rows: of all classes.
        seen: those to learn from.
        learn: float32 (n, E), images as the encoder sees them.
    """
    centred = rows - rows[seen].mean(axis=0)
    images = np.abs(learn - learn.mean(axis=0)).sum(axis=1).mean()
    scaled: Floats = centred * (images / np.maximum(np.abs(centred[seen]).sum(axis=1).mean(), 1e-12))
    return scaled


def visual_means(networks: Networks, visual: Floats) -> Floats:
    """Give the mean latents (m, L) of images (m, E)."""
    with torch.inference_mode():
        means: Floats = networks.visual.encode(torch.from_numpy(visual)).mean.numpy()
    return means


def _spread(scores: Floats, ids: Indices, width: int) -> Floats:
    """Put columns where their classes are; classes that cannot come are impossible."""
    wide = np.full((len(scores), width), -np.inf, "float32")
    wide[:, ids] = scores
    return wide
