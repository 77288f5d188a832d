"""ALE and DeViSE: a bilinear map x W s learnt by ranking the right class row above the others."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from rszsl.zsl.baselines.scaling import Scaling, scaled, seen_positions
from rszsl.zsl.problem import Candidate, Floats, Indices, Problem

BATCH = 32


@dataclass(frozen=True, slots=True)
class Bilinear:
    """Ranking by stochastic gradients, without a regulariser: the epoch is a setting instead.

    `ale` is "Label-embedding for image classification" (Akata et al., TPAMI 2016), equation 11: a violating class costs
    its hinge times l(r) / r, where r classes violate and l(r) = 1 + 1/2 + ... + 1/r, margin 1. `devise` is Frome et
    al. (NIPS 2013), equation 1: the plain sum of hinges, margin 0.1. All seen classes are looked at instead of drawing
    them until one violates; steps are of 32 images.
    """

    loss: Literal["ale", "devise"] = "ale"
    rates: tuple[float, ...] = (0.01, 0.1, 1.0)
    epochs: tuple[int, ...] = (1, 2, 5, 10, 20, 40)
    scaling: Scaling = "centred"

    @property
    def name(self) -> str:
        """The loss."""
        return self.loss

    def candidates(self, problem: Problem, ask: Indices, seed: int) -> Iterator[Candidate]:
        """Yield every learning rate at every epoch; `seed` sets the start and the order of the images."""
        learn, asked = scaled(problem, ask, self.scaling)
        rows, truth = problem.table.rows, seen_positions(problem)
        for rate in self.rates:
            rng = np.random.default_rng(seed)
            width = learn.shape[1]
            weights: Floats = rng.normal(0, width**-0.5, (width, rows.shape[1])).astype(np.float32)
            for epoch in range(1, max(self.epochs) + 1):
                order = rng.permutation(len(learn))
                loss = self._epoch(weights, learn[order], truth[order], rows[problem.seen], rate)
                if epoch in self.epochs:
                    scores = asked @ (weights @ rows.T)
                    yield Candidate(f"rate={rate:g} epoch={epoch}", scores, extra={"loss": loss})

    def _epoch(self, weights: Floats, learn: Floats, truth: Indices, rows: Floats, rate: float) -> float:
        """Go once over the images, changing `weights`; give the mean loss."""
        total = 0.0
        for start in range(0, len(learn), BATCH):
            part = slice(start, start + BATCH)
            loss, slope = ranking_slope(learn[part] @ (weights @ rows.T), truth[part], self.loss)
            weights -= rate * (learn[part].T @ slope @ rows)
            total += loss
        return total / len(learn)


def ranking_slope(scores: Floats, truth: Indices, loss: Literal["ale", "devise"]) -> tuple[float, Floats]:
    """Give the loss summed over images, and its slope by the scores.

    Args:
        scores: float32 (n, C), of the seen classes.
        truth: int64 (n,), the right column of each.
        loss: `ale` or `devise`.

    Returns:
        the loss, and float32 (n, C).
    """
    each = np.arange(len(scores))
    margin = np.float32(1.0 if loss == "ale" else 0.1)
    hinge = scores - scores[each, truth][:, None] + margin
    hinge[each, truth] = 0.0
    weight = (hinge > 0).astype("float32")
    violators = weight.sum(axis=1)
    if loss == "ale":
        harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, scores.shape[1] + 1))]).astype("float32")
        weight *= (harmonic[violators.astype("int64")] / np.maximum(violators, 1))[:, None]
    total = float((weight * hinge).sum())
    weight[each, truth] = -weight.sum(axis=1)
    return total, weight
