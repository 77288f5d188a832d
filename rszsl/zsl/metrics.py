"""Figures of merit (METHOD D): mean per-class top-1, seen / unseen / harmonic mean, and those of probabilities."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rszsl.zsl.problem import Floats, Indices

GAMMAS = np.concatenate([[0.0], np.geomspace(1e-5, 2.0, 60)])
"""What is taken off the seen classes' scores, in spreads of the scores."""


@dataclass(frozen=True, slots=True)
class Harmony:
    """Generalised zero-shot accuracy at one `gamma`, each 0..1: unseen U, seen S, harmonic mean H."""

    gamma: float
    unseen: float
    seen: float

    @property
    def harmonic(self) -> float:
        """H = 2 U S / (U + S)."""
        return 2 * self.unseen * self.seen / (self.unseen + self.seen) if self.unseen + self.seen else 0.0


def per_class_accuracy(scores: Floats, truth: Indices, among: Indices) -> float:
    """Mean over the true classes of the share of images put right.

    Args:
        scores: (n, C).
        truth: int64 (n,), each one of `among`.
        among: ids of the classes that may be chosen.
    """
    return mean_by_class(among[scores[:, among].argmax(1)] == truth, truth)


def mean_by_class(right: NDArray[np.bool_], truth: Indices) -> float:
    """Average flags (n,) within each true class, then over the classes."""
    _, inverse = np.unique(truth, return_inverse=True)
    return float(np.mean(np.bincount(inverse, right) / np.bincount(inverse)))


def stacking_curve(scores: Floats, truth: Indices, seen: Indices, unseen: Indices) -> list[Harmony]:
    """Try every gamma of calibrated stacking (METHOD B.9; Chao et al. 2016) over seen and unseen classes.

    Args:
        scores: (n, C), of images of both kinds.
        truth: int64 (n,).
        seen: ids of the classes whose scores are lowered.
        unseen: ids of the others.
    """
    best_seen, best_unseen = scores[:, seen].max(1), scores[:, unseen].max(1)
    spread = float(scores[:, np.concatenate([seen, unseen])].std()) or 1.0
    takes_seen = ((best_seen - best_unseen) / spread)[:, None] > GAMMAS
    right = np.where(
        takes_seen,
        (seen[scores[:, seen].argmax(1)] == truth)[:, None],
        (unseen[scores[:, unseen].argmax(1)] == truth)[:, None],
    )
    by_gamma = [_class_weights(truth, kind) @ right for kind in (unseen, seen)]
    return [Harmony(*point) for point in zip(GAMMAS.tolist(), *(values.tolist() for values in by_gamma), strict=True)]


def _class_weights(truth: Indices, kind: Indices) -> NDArray[np.float64]:
    """Weigh each image of some classes so that a sum over them is a mean over classes of means: (n,)."""
    of_kind = np.isin(truth, kind)
    _, inverse, counts = np.unique(truth[of_kind], return_inverse=True, return_counts=True)
    weights = np.zeros(len(truth))
    weights[of_kind] = 1 / (len(counts) * counts[inverse])
    return weights


def best_harmony(curve: list[Harmony]) -> Harmony:
    """Give the point of a curve with the largest harmonic mean; the smallest gamma among equals."""
    return max(curve, key=lambda point: (point.harmonic, -point.gamma))


def class_accuracy(similarity: Floats, names: Sequence[str], truth: NDArray[np.str_]) -> float:
    """Mean over the true classes of top-1 accuracy.

    Args:
        similarity: (N, C), of images to candidate names.
        names: C candidates.
        truth: (N,), each image's name, one of the candidates.
    """
    chosen = np.array(names)[similarity.argmax(1)]
    return float(np.mean([(chosen[truth == name] == name).mean() for name in sorted(set(truth.tolist()))]))


def auroc(scores: NDArray[np.floating], positive: NDArray[np.bool_]) -> float:
    """Chance that a positive scores above a negative, ties counting half."""
    order = np.argsort(scores, kind="stable")
    ranks = np.empty(len(scores))
    _values, inverse, counts = np.unique(scores[order], return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    ranks[order] = (ends - (counts - 1) / 2)[inverse]
    ups, downs = int(positive.sum()), int((~positive).sum())
    return float((ranks[positive].sum() - ups * (ups + 1) / 2) / (ups * downs))


def calibration_error(
    probability: NDArray[np.floating], positive: NDArray[np.bool_], weights: NDArray[np.floating], bins: int = 15
) -> float:
    """Expected calibration error: the gap of probability and frequency over equal-width bins, by their weights."""
    bin_of = np.minimum((probability * bins).astype(int), bins - 1)
    total = 0.0
    for inside in (bin_of == b for b in range(bins)):
        if inside.any():
            gap = np.average(probability[inside] - positive[inside], weights=weights[inside])
            total += abs(float(gap)) * float(weights[inside].sum())
    return total / float(weights.sum())
