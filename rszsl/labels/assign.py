"""From scores to the label of each tile, and the attributes that speak for it."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from rszsl.labels.calibrate import Floats, Scores

T = TypeVar("T", bound=np.generic)
F = TypeVar("F", bound=np.floating[Any])

RANKS = 3
"""How many choices and attributes a tile carries."""


class Status(StrEnum):
    """What became of a planned tile."""

    LABELLED = "labelled"
    OTHER = "other"
    NODATA = "nodata"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """Labels of N tiles; choices and attributes are sorted, best first.

    Attributes:
        choice: int64 (N, 3), class numbers, -1 where the list has fewer classes.
        confidence: float32 (N, 3), of those choices, NaN where there is none.
        margin: float32 (N,), confidence of the first choice less that of the surest other class (less 0 without
            one); 0 where a preference put the first choice before a surer class.
        similarity: float32 (N,), of the first choice.
        accepted: bool (N,), False where even the first choice is below the threshold: the tile is `other`.
        attribute: int64 (N, 3), attributes that speak loudest for the first choice.
        contribution: float32 (N, 3), signed share of each in `similarity`.
    """

    choice: NDArray[np.int64]
    confidence: Floats
    margin: Floats
    similarity: Floats
    accepted: NDArray[np.bool_]
    attribute: NDArray[np.int64]
    contribution: Floats

    def __len__(self) -> int:
        return len(self.margin)


def assign(
    scores: Scores, attributes: Floats, rows: Floats, min_confidence: float, preference: Floats | None = None
) -> Labels:
    """Choose the class of each tile; ties go to the class that stands first in the list.

    Args:
        scores: of N tiles for C classes.
        attributes: float32 (N, K), what the tiles show.
        rows: float32 (C, K), what the classes mean.
        min_confidence: 0..1; a tile whose best class is below stays `other`.
        preference: float32 (N, C), by which classes are ranked instead of by their confidence, which then only
            breaks ties; the confidences themselves stay what they are.
    """
    ranking = scores.confidence if preference is None else preference
    order = np.lexsort((-scores.confidence, -ranking), axis=1)[:, :RANKS]
    confidence = np.take_along_axis(scores.confidence, order, axis=1)
    first = order[:, 0]
    attribute, contribution = loudest(contributions(attributes, rows[first]))
    return Labels(
        choice=_pad(order, -1),
        confidence=_pad(confidence, np.nan),
        margin=_margin(scores.confidence, first),
        similarity=np.take_along_axis(scores.similarity, first[:, None], axis=1)[:, 0],
        accepted=confidence[:, 0] >= min_confidence,
        attribute=attribute,
        contribution=contribution,
    )


def contributions(attributes: NDArray[F], rows: NDArray[np.float32]) -> NDArray[F]:
    """Signed share of each attribute in each tile's similarity; a row's shares add up to it.

    Args:
        attributes: float32 (N, K), or float64 for means.
        rows: float32 (N, K), the row of the class chosen for each tile.
    """
    return np.asarray(attributes * rows)


def loudest(shares: NDArray[F]) -> tuple[NDArray[np.int64], NDArray[F]]:
    """Give the largest contributions of each row (N, K) of them: which, int64 (N, 3), and how large, (N, 3)."""
    left, ranked = shares.copy(), []
    for _ in range(min(RANKS, shares.shape[1])):  # three look-ups are quicker than sorting a hundred attributes
        ranked.append(left.argmax(axis=1)[:, None])
        np.put_along_axis(left, ranked[-1], -np.inf, axis=1)
    order = np.concatenate(ranked, axis=1)
    return _pad(order, -1), _pad(np.take_along_axis(shares, order, axis=1), np.nan)


def _margin(confidence: Floats, first: NDArray[np.int64]) -> Floats:
    if confidence.shape[1] == 1:
        return np.asarray(confidence[:, 0])
    others = confidence.copy()
    np.put_along_axis(others, first[:, None], -np.inf, axis=1)
    lead = np.take_along_axis(confidence, first[:, None], axis=1)[:, 0] - others.max(axis=1)
    return np.asarray(np.maximum(lead, 0))


def _pad(ranked: NDArray[T], fill: float) -> NDArray[T]:
    missing = RANKS - ranked.shape[1]
    return np.pad(ranked, ((0, 0), (0, missing)), constant_values=fill) if missing > 0 else ranked
