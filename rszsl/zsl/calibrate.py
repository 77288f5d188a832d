"""Fit the constants of the presence probability on concepts that the model never saw."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rszsl.labels.calibrate import Calibrator, background_similarity, score
from rszsl.zsl.metrics import auroc, calibration_error

Floats = NDArray[np.float32]
NEGATIVES_A_POSITIVE = 14.0
"""How rare a class is taken to be on a map: one tile in fifteen shows it, as where a fifth of the tiles show one of
three classes that are asked for, and the rest none of them."""
MAX_COSINES = (0.4, 0.5, 0.6, 0.7, 0.8)


@dataclass(frozen=True, slots=True, eq=False)
class Cases:
    """Questions "does this image show that class": every image against every class.

    Attributes:
        attributes: (N, K), of images.
        rows: (C, K), of classes.
        present: bool (N, C), whether the image shows the class.
        background: (B, K), unit rows of what anything may show.
    """

    attributes: Floats
    rows: Floats
    present: NDArray[np.bool_]
    background: Floats

    @property
    def weights(self) -> NDArray[np.float64]:
        """Weight of each case (N, C): every class counts the same, with `NEGATIVES_A_POSITIVE` to one."""
        ups, downs = np.maximum(self.present.sum(0), 1), np.maximum((~self.present).sum(0), 1)
        return np.asarray(np.where(self.present, 1 / ups, NEGATIVES_A_POSITIVE / downs), dtype="float64")

    def features(self, max_cosine: float) -> NDArray[np.float64]:
        """Similarity and margin of each case: (N * C, 2)."""
        similarity = self.attributes @ self.rows.T
        margin = similarity - background_similarity(self.attributes, self.rows, self.background, max_cosine)
        return np.stack([similarity.ravel(), margin.ravel()], axis=1).astype("float64")

    def half(self, first: int) -> "Cases":
        """Keep every second image, from number `first` on, and all classes."""
        kept = slice(first, None, 2)
        return Cases(self.attributes[kept], self.rows, self.present[kept], self.background)

    def confidence(self, calibrator: Calibrator) -> Floats:
        """Give the probability of each case (N, C)."""
        return score(self.attributes, self.rows, self.background, calibrator).confidence


def make_cases(
    attributes: Floats, truth: NDArray[np.str_], names: Sequence[str], rows: Floats, background: Floats
) -> Cases:
    """Ask of every image whether it shows each of `names`; images of other concepts show none of them."""
    return Cases(attributes, rows, truth[:, None] == np.array(names)[None, :], background)


def fit_calibrator(*cases: Cases) -> Calibrator:
    """Fit by logistic regression; the cosine that excludes background is the one with the least log loss.

    Args:
        cases: of one model, or of several that were trained alike.
    """
    fits = [_fit(cases, cosine) for cosine in MAX_COSINES]
    return min(fits, key=lambda c: log_loss(cases, c))


def _fit(cases: Sequence[Cases], max_cosine: float) -> Calibrator:
    from sklearn.linear_model import LogisticRegression

    features = np.concatenate([c.features(max_cosine) for c in cases])
    present = np.concatenate([c.present.ravel() for c in cases])
    weights = np.concatenate([c.weights.ravel() * len(c.present) for c in cases])
    model = LogisticRegression(C=1e4, max_iter=1000)
    model.fit(features, present, sample_weight=weights)
    on_similarity, on_margin = model.coef_[0].tolist()
    return Calibrator(float(model.intercept_[0]), on_similarity, on_margin, max_cosine)


def log_loss(cases: Sequence[Cases], calibrator: Calibrator) -> float:
    """Weighted mean log loss."""
    losses, weights = [], []
    for asked in cases:
        p = np.clip(asked.confidence(calibrator), 1e-6, 1 - 1e-6)
        losses.append(-np.where(asked.present, np.log(p), np.log(1 - p)).ravel())
        weights.append(asked.weights.ravel())
    return float(np.average(np.concatenate(losses), weights=np.concatenate(weights)))


def best_threshold(cases: Sequence[Cases], calibrator: Calibrator) -> float:
    """Find the confidence, in steps of 0.05, that finds classes best: the largest F1 at the assumed rarity."""
    p = np.concatenate([c.confidence(calibrator).ravel() for c in cases])
    present = np.concatenate([c.present.ravel() for c in cases])
    weights = np.concatenate([c.weights.ravel() for c in cases])

    def f1(threshold: float) -> float:
        found = p >= threshold
        hits = float(weights[found & present].sum())
        return 2 * hits / float(weights[found].sum() + weights[present].sum())

    return float(max(np.arange(1, 20) * 0.05, key=f1).round(2))


def measure_presence(cases: Cases, calibrator: Calibrator) -> tuple[float, float]:
    """Give the mean AUROC over the classes, and the calibration error at the assumed rarity."""
    p = cases.confidence(calibrator)
    ranks = [auroc(p[:, c], cases.present[:, c]) for c in range(p.shape[1])]
    gap = calibration_error(p.ravel(), cases.present.ravel(), cases.weights.ravel())
    return float(np.mean(ranks)), gap
