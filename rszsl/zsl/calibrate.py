"""Fit the constants of the presence probability on concepts that the model never saw."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rszsl.labels.calibrate import Calibrator, background_similarity, score
from rszsl.zsl.metrics import auroc, calibration_error

Floats = NDArray[np.float32]
NEGATIVES_A_POSITIVE = 4.0
"""How rare a class is taken to be on a map: one tile in five shows it."""
MAX_COSINES = (0.4, 0.5, 0.6, 0.7, 0.8)


@dataclass(frozen=True, slots=True, eq=False)
class Cases:
    """Questions "does this image show that class": every image against every class.

    Attributes:
        attributes: (N, K), of images.
        rows: (C, K), of classes.
        present: bool (N, C), whether the image shows the class.
    """

    attributes: Floats
    rows: Floats
    present: NDArray[np.bool_]

    @property
    def weights(self) -> NDArray[np.float64]:
        """Weight of each case (N, C): every class counts the same, with `NEGATIVES_A_POSITIVE` to one."""
        ups, downs = self.present.sum(0), (~self.present).sum(0)
        return np.asarray(np.where(self.present, 1 / ups, NEGATIVES_A_POSITIVE / downs), dtype="float64")


def make_cases(attributes: Floats, truth: NDArray[np.str_], names: Sequence[str], rows: Floats) -> Cases:
    """Ask of every image whether it shows each of `names`; images of other concepts show none of them."""
    return Cases(attributes, rows, truth[:, None] == np.array(names)[None, :])


def fit_calibrator(cases: Cases, background: Floats) -> Calibrator:
    """Fit by logistic regression; the cosine that excludes background is the one with the least log loss."""
    fits = [_fit(cases, background, cosine) for cosine in MAX_COSINES]
    return min(fits, key=lambda c: log_loss(cases, background, c))


def _fit(cases: Cases, background: Floats, max_cosine: float) -> Calibrator:
    from sklearn.linear_model import LogisticRegression

    similarity = cases.attributes @ cases.rows.T
    margin = similarity - background_similarity(cases.attributes, cases.rows, background, max_cosine)
    features = np.stack([similarity.ravel(), margin.ravel()], axis=1)
    model = LogisticRegression(C=1e4, max_iter=1000)
    model.fit(features, cases.present.ravel(), sample_weight=cases.weights.ravel() * len(cases.present))
    on_similarity, on_margin = model.coef_[0].tolist()
    return Calibrator(float(model.intercept_[0]), on_similarity, on_margin, max_cosine)


def log_loss(cases: Cases, background: Floats, calibrator: Calibrator) -> float:
    """Weighted mean log loss."""
    p = np.clip(score(cases.attributes, cases.rows, background, calibrator).confidence, 1e-6, 1 - 1e-6)
    loss = -np.where(cases.present, np.log(p), np.log(1 - p))
    return float(np.average(loss, weights=cases.weights))


def best_threshold(cases: Cases, background: Floats, calibrator: Calibrator) -> float:
    """Find the confidence, in steps of 0.05, that finds classes best: the largest F1 at the assumed rarity."""
    p = score(cases.attributes, cases.rows, background, calibrator).confidence
    weights = cases.weights

    def f1(threshold: float) -> float:
        found = p >= threshold
        hits = float(weights[found & cases.present].sum())
        return 2 * hits / float(weights[found].sum() + weights[cases.present].sum())

    return float(max(np.arange(1, 20) * 0.05, key=f1).round(2))


def measure_presence(cases: Cases, background: Floats, calibrator: Calibrator) -> tuple[float, float]:
    """Give the mean AUROC over the classes, and the calibration error at the assumed rarity."""
    p = score(cases.attributes, cases.rows, background, calibrator).confidence
    ranks = [auroc(p[:, c], cases.present[:, c]) for c in range(p.shape[1])]
    gap = calibration_error(p.ravel(), cases.present.ravel(), cases.weights.ravel())
    return float(np.mean(ranks)), gap
