"""Similarity and the probability that a tile shows a class at all.

The probability of a class never depends on the other classes of the user's list: each class competes with a fixed
background of generic things ("grass", "roof", "water"), less those that mean nearly the same as the class.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Calibrator:
    """Constants of the presence probability, fitted on classes that the model never saw.

    p = sigmoid(bias + weight_similarity * s + weight_margin * (s - m)), where s is the similarity of the tile to
    the class and m its largest similarity to the background rows whose cosine to the class is below
    `background_max_cosine`.

    A class that was shown examples tells tiles apart better than the names that the constants were fitted on. With e
    the share of the examples in its row (`rszsl.labels.examples.evidence`), what stands in the sigmoid, z, becomes
    (1 + example_gain * e) * z - example_shift * e.

    Names that images taught are told apart better still. Where a model has constants of their own for them, `taught`,
    fitted on images that it did not learn from, those names get these, so that both kinds mean the same by a number.
    """

    bias: float
    weight_similarity: float
    weight_margin: float
    background_max_cosine: float
    example_gain: float = 0.0
    example_shift: float = 0.0
    taught: "Calibrator | None" = None

    def logit(self, attributes: Floats, rows: Floats, background: Floats, similarity: Floats) -> Floats:
        """What stands in the sigmoid: float32 (N, C)."""
        margin = similarity - background_similarity(attributes, rows, background, self.background_max_cosine)
        return np.asarray(self.bias + self.weight_similarity * similarity + self.weight_margin * margin)


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """Scores of N tiles for C classes.

    Attributes:
        similarity: float32 (N, C), cosine in -1..1.
        confidence: float32 (N, C), probability in 0..1 that the tile shows the class.
    """

    similarity: Floats
    confidence: Floats


def score(
    attributes: Floats,
    rows: Floats,
    background: Floats,
    calibrator: Calibrator,
    evidence: Floats | None = None,
    taught: Sequence[bool] = (),
) -> Scores:
    """Score tiles against classes.

    Args:
        attributes: float32 (N, K), unit rows, what the tiles show.
        rows: float32 (C, K), unit rows, what the classes mean.
        background: float32 (B, K), unit rows, what anything may show.
        calibrator: constants that belong to the model.
        evidence: float32 (C,) in 0..1, share of examples in each row; None where there are none.
        taught: for each class, whether images taught its name; empty where they taught none.
    """
    similarity = _cosines(attributes, rows)
    logit = calibrator.logit(attributes, rows, background, similarity)
    if calibrator.taught is not None and any(taught):
        own = calibrator.taught.logit(attributes, rows, background, similarity)
        logit = np.where(np.array(taught), own, logit)
    if evidence is not None:
        logit = (1 + calibrator.example_gain * evidence) * logit - calibrator.example_shift * evidence
    return Scores(similarity, (1 / (1 + np.exp(-logit))).astype("float32"))


def background_similarity(attributes: Floats, rows: Floats, background: Floats, max_cosine: float) -> Floats:
    """Largest similarity of each tile to the background that is left for each class.

    Returns:
        float32 (N, C); -1 for a class that is close to every background row.
    """
    to_background = _cosines(background, attributes)
    rivals = rows @ background.T < max_cosine
    shared = rivals.all(axis=0)
    of_all = to_background[shared].max(axis=0, initial=-1.0)
    own = [to_background[keep].max(axis=0, initial=-1.0) for keep in rivals & ~shared]
    return np.asarray(np.maximum(of_all[:, None], np.stack(own, axis=1)))


def _cosines(one: Floats, other: Floats) -> Floats:
    """Products of unit rows (N, K) and (M, K): float32 (N, M), the same in whatever batches the rows come.

    In float32 the last digits would depend on how many rows are multiplied at once.
    """
    product: Floats = (one.astype("float64") @ other.astype("float64").T).astype("float32")
    return product
