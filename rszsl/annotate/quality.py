"""How good a class-attribute matrix is: does it tell classes apart, does each attribute vary, do humans agree."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

Floats = NDArray[np.float32]
Indices = NDArray[np.int64]
SHUFFLES = 1000


@dataclass(frozen=True, slots=True, eq=False)
class HumanTable:
    """What humans say of the same classes.

    Attributes:
        rows: float32 (C, H), in the order of our classes; a class that humans did not describe has NaN.
        columns: for each of our attributes, its column, or -1.
    """

    rows: Floats
    columns: Indices


def separability(scores: Floats, labels: Indices) -> float:
    """Share of pictures that are nearest, by cosine of centred scores, to the mean of their own class without them.

    Args:
        scores: float32 (N, A).
        labels: int64 (N,); a class with one picture is left out.
    """
    around = scores - scores.mean(axis=0)
    names, counts = np.unique(labels, return_counts=True)
    kept = np.isin(labels, names[counts > 1])
    around, own = around[kept], np.searchsorted(names[counts > 1], labels[kept])
    sums = np.stack([around[own == c].sum(axis=0) for c in range(own.max() + 1)])
    count = np.bincount(own)
    to_others = around @ _unit(sums).T
    without = _unit((sums[own] - around) / (count[own] - 1)[:, None])
    to_others[np.arange(len(own)), own] = (around * without).sum(axis=1)
    return float((to_others.argmax(axis=1) == own).mean())


def variance_between(scores: Floats, labels: Indices) -> Floats:
    """Share of each attribute's variance over pictures that lies between classes: float32 (A,), 0..1."""
    names, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
    means = np.stack([scores[inverse == c].mean(axis=0) for c in range(len(names))])
    between = (counts[:, None] * (means - scores.mean(axis=0)) ** 2).sum(axis=0)
    total = ((scores - scores.mean(axis=0)) ** 2).sum(axis=0)
    return np.asarray(between / np.maximum(total, 1e-12), dtype="float32")


def agreement(rows: Floats, human: HumanTable, families: Sequence[str], seed: int) -> dict[str, Any]:
    """Rank correlation with a human table, attribute by attribute over classes, beside shuffled controls.

    Args:
        rows: float32 (C, A), our matrix.
        human: theirs.
        families: of each of our attributes.
        seed: of the shuffles.

    Returns:
        `attributes`: (our number, correlation); `mean`, `families`: means; for each mean the `shuffled_classes`
        control (mean and 97.5 % quantile over 1 000 shuffles of the human rows) and the share `p` of shuffles that
        reach it; `attributes_compared`, `classes`.
    """
    known = ~np.isnan(human.rows).any(axis=1)
    ours, theirs = rows[known], human.rows[known]
    told = [a for a in range(rows.shape[1]) if human.columns[a] >= 0 and np.ptp(theirs[:, human.columns[a]]) > 0]
    if not told:
        return {"attributes_compared": 0, "classes": int(known.sum())}
    left, right = _ranks(ours[:, told]), _ranks(theirs[:, human.columns[told]])
    found = (left * right).sum(axis=0)
    rng = np.random.default_rng(seed)
    shuffled = np.stack([(left * right[rng.permutation(len(right))]).sum(axis=0) for _ in range(SHUFFLES)])
    kinds = np.array([families[a] for a in told])
    groups = {family: kinds == family for family in dict.fromkeys(kinds.tolist())}
    return {
        "classes": int(known.sum()),
        "attributes_compared": len(told),
        "mean": _beside(found, shuffled, np.ones(len(told), dtype=bool)),
        "families": {family: _beside(found, shuffled, mask) for family, mask in groups.items()},
        "attributes": [(a, round(float(value), 4)) for a, value in zip(told, found, strict=True)],
    }


def _beside(found: NDArray[Any], shuffled: NDArray[Any], mask: NDArray[np.bool_]) -> dict[str, Any]:
    value, control = found[mask].mean(), shuffled[:, mask].mean(axis=1)
    return {
        "spearman": round(float(value), 4),
        "n": int(mask.sum()),
        "shuffled_mean": round(float(control.mean()), 4),
        "shuffled_97.5": round(float(np.quantile(control, 0.975)), 4),
        "p": round(float((1 + (control >= value).sum()) / (1 + len(control))), 4),
    }


def _ranks(columns: Floats) -> NDArray[np.float64]:
    """Ranks of each column, centred and of unit length: their products are Spearman's correlation."""
    ranks = rankdata(columns, axis=0)
    ranks -= ranks.mean(axis=0)
    return np.asarray(ranks / np.maximum(np.linalg.norm(ranks, axis=0), 1e-12))


def _unit(rows: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-12))
