"""The constants of a model's confidence, fitted on what models say of images that they did not learn from."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from rszsl.labels.calibrate import Calibrator
from rszsl.labels.examples import class_row, evidence
from rszsl.training.card import Constants
from rszsl.training.said import Said
from rszsl.zsl.calibrate import Cases, best_threshold, fit_calibrator

Floats = NDArray[np.float32]
EXAMPLE_COUNTS = (1, 2, 5, 20)


def calibrate(final: Said, folds: Sequence[Said], seed: int) -> Constants:
    """Fit both calibrators: of open names on the folds' unseen concepts, of taught ones on images of two kinds.

    Args:
        final: what the final model says of kept-out images.
        folds: what the folds' models say; each is asked for concepts that it never saw.
        seed: draws the examples by which a class with examples is calibrated.
    """
    unseen, taught = [said.unseen_cases() for said in folds], [final.taught_cases(), *foreign_cases(folds)]
    open_names = with_examples(fit_calibrator(*unseen), unseen, seed)
    return Constants(
        open_names,
        with_examples(fit_calibrator(*taught), taught, seed),
        best_threshold(unseen, open_names),
    )


def foreign_cases(folds: Sequence[Said], without: Sequence[str] = ()) -> list[Cases]:
    """Collect questions for taught names of images from sets that a fold's model never saw.

    On images of the sets that taught them, names are told apart far better than on anybody's own scene.
    """
    return [cases for said in folds if (cases := said.foreign_cases(without)) is not None]


def with_examples(calibrator: Calibrator, cases: Sequence[Cases], seed: int) -> Calibrator:
    """Fit what examples change (`Calibrator.example_gain` and `example_shift`) by log loss, at the assumed rarity.

    A few images of each class become its examples, and are then not asked any more.
    """
    from scipy.optimize import minimize

    drawn = [_draw(asked, count, calibrator, seed) for asked in cases for count in EXAMPLE_COUNTS]

    def loss(constants: NDArray[np.float64]) -> float:
        gain, shift = constants.tolist()
        total = 0.0
        for logit, asked, share in drawn:
            z = (1 + gain * share) * logit - shift * share
            weights = asked.weights / asked.weights.sum()
            total += float((weights * np.where(asked.present, np.logaddexp(0, -z), np.logaddexp(0, z))).sum())
        return total

    gain, shift = minimize(loss, [0.0, 0.0], method="Nelder-Mead").x.tolist()
    return replace(calibrator, example_gain=round(gain, 3), example_shift=round(shift, 3))


def _draw(asked: Cases, count: int, calibrator: Calibrator, seed: int) -> tuple[NDArray[np.float64], Cases, float]:
    """Logits (n, C) of the images that are left, these cases, and the share of the examples in each row."""
    rng = np.random.default_rng([seed, count])
    shown = [rng.permutation(np.flatnonzero(own))[:count] for own in asked.present.T]
    left = np.setdiff1d(np.arange(len(asked.present)), np.concatenate(shown))
    rows = np.stack([class_row(row, asked.attributes[at]) for row, at in zip(asked.rows, shown, strict=True)])
    cases = Cases(asked.attributes[left], rows, asked.present[left], asked.background)
    p = np.clip(cases.confidence(calibrator).astype("float64"), 1e-7, 1 - 1e-7)
    return np.log(p / (1 - p)), cases, float(evidence([count])[0])
