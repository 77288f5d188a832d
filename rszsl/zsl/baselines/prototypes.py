"""Linear attribute prototypes on a frozen tower, one epoch: what the first epoch of DSVA amounts to (METHOD D)."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np

from rszsl.zsl.baselines.scaling import Scaling, scaled, seen_positions
from rszsl.zsl.problem import Candidate, Floats, Indices, Problem

BATCHES = 300
WAYS = 8
SHOTS = 3
REGRESSION = 1e-2
BETAS = (0.5, 0.999)


@dataclass(frozen=True, slots=True)
class Prototypes:
    """A head K x E on the embedding, trained as DSVA's global head (arXiv 2402.02094): 300 episodes of 8 x 3 images.

    Cross-entropy of the logits a A' / t plus 0.01 x mean square of a - A_y; Adam (0.5, 0.999). The temperature and the
    learning rate are the settings.
    """

    name: str = "frozen prototypes"
    temperatures: tuple[float, ...] = (0.03, 0.1, 0.3, 1.0)
    rates: tuple[float, ...] = (1e-4, 1e-3, 1e-2)
    scaling: Scaling = "standard"

    def candidates(self, problem: Problem, ask: Indices, seed: int) -> Iterator[Candidate]:
        """Yield every temperature and rate; `seed` draws the start and the episodes, the same for all."""
        learn, asked = scaled(problem, ask, self.scaling)
        rows, truth = problem.table.rows, seen_positions(problem)
        learn = np.concatenate([learn, np.ones((len(learn), 1), "float32")], axis=1)
        rng = np.random.default_rng(seed)
        bound = learn.shape[1] ** -0.5
        start: Floats = rng.uniform(-bound, bound, (learn.shape[1], rows.shape[1])).astype(np.float32)
        batches = episodes(truth, rng)
        for temperature, rate in product(self.temperatures, self.rates):
            weights, loss = _train(learn, truth, rows[problem.seen], batches, start, temperature, rate)
            scores = asked @ (weights[:-1] @ rows.T) + weights[-1] @ rows.T
            yield Candidate(f"temperature={temperature:g} rate={rate:g}", scores, extra={"loss": loss})


def episodes(truth: Indices, rng: np.random.Generator) -> Indices:
    """Draw 300 times 8 classes and 3 images of each: int64 (300, 24).

    There are fewer classes where there are no 8; a class of fewer than 3 images gives some again.
    """
    members = [np.flatnonzero(truth == c) for c in np.unique(truth)]
    ways = min(WAYS, len(members))
    drawn = (rng.choice(len(members), ways, replace=False) for _ in range(BATCHES))
    return np.stack(
        [np.concatenate([_few(members[c], rng) for c in classes]) for classes in drawn],
    )


def _few(ids: Indices, rng: np.random.Generator) -> Indices:
    return rng.choice(ids, SHOTS, replace=len(ids) < SHOTS)


def slope(features: Floats, truth: Indices, rows: Floats, weights: Floats, temperature: float) -> tuple[float, Floats]:
    """Give the loss of a batch, and its slope by the weights.

    Args:
        features: float32 (n, E + 1), the last column 1.
        truth: int64 (n,), row of each image's class.
        rows: float32 (C, K).
        weights: float32 (E + 1, K), the last row the bias.
        temperature: what the logits are divided by.

    Returns:
        the loss, and float32 (E + 1, K).
    """
    attributes = features @ weights
    logits = attributes @ rows.T / temperature
    logits -= logits.max(axis=1, keepdims=True)
    shares = np.exp(logits)
    shares /= shares.sum(axis=1, keepdims=True)
    each, n = np.arange(len(truth)), len(truth)
    gap = attributes - rows[truth]
    loss = -float(np.log(np.maximum(shares[each, truth], 1e-30)).mean()) + REGRESSION * float((gap**2).mean())
    shares[each, truth] -= 1
    by_attributes = shares @ rows / (temperature * n) + 2 * REGRESSION * gap / gap.size
    by_weights: Floats = (features.T @ by_attributes).astype(features.dtype)
    return loss, by_weights


def _train(
    learn: Floats, truth: Indices, rows: Floats, batches: Indices, start: Floats, temperature: float, rate: float
) -> tuple[Floats, float]:
    """Train for one epoch; give the weights (E + 1, K) and the mean loss."""
    weights, total = start.copy(), 0.0
    first, second = np.zeros_like(weights), np.zeros_like(weights)
    for step, ids in enumerate(batches, start=1):
        loss, by_weights = slope(learn[ids], truth[ids], rows, weights, temperature)
        first += (1 - BETAS[0]) * (by_weights - first)
        second += (1 - BETAS[1]) * (by_weights**2 - second)
        mean, square = first / (1 - BETAS[0] ** step), second / (1 - BETAS[1] ** step)
        weights -= np.float32(rate) * mean / (np.sqrt(square) + np.float32(1e-8))
        total += loss
    return weights, total / len(batches)
