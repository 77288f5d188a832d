"""Accuracy, as METHOD D has it: the mean over classes of the share of images put right; and of probabilities."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


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
