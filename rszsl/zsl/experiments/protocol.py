"""One protocol for every method: settings are chosen on validation classes, the test classes are looked at once.

Settings, and the gamma of calibrated stacking, are chosen on folds: a quarter of the seen classes plays unseen, the
method learns from the others. With what was chosen it learns once more, from all seen classes. Beside each figure
stands the oracle: the best that any setting reached on the test classes, as published codes report it.
"""

import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from rszsl.errors import TrainingError
from rszsl.zsl.data.splits import ClassSplit, ImageSplit, draw_images
from rszsl.zsl.metrics import Harmony, per_class_accuracy, stacking_curve
from rszsl.zsl.problem import Candidate, ClassTable, Features, Indices, Method, Problem

FOLDS = 3


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """Images with features, labels and class rows, ready to be split.

    Attributes:
        name: as in results.
        features: of N images.
        labels: N class names, each a name of `table`.
        table: rows of all classes, made without looking at an image.
        look: makes the rows from the images to learn from (their ids) and the classes that these show; None: `table`.
    """

    name: str
    features: Features
    labels: tuple[str, ...]
    table: ClassTable
    look: Callable[[Indices, Sequence[str]], ClassTable] | None = None

    def table_for(self, fit: Indices, seen: Sequence[str]) -> ClassTable:
        """Give the rows of all classes, of which only images in `fit` may be looked at; the order of names stays."""
        return self.table if self.look is None else self.look(fit, seen)

    def ids_of(self, names: Sequence[str]) -> Indices:
        """Give sorted rows of some classes."""
        return np.sort(np.array([self.table.names.index(name) for name in names], dtype="int64"))

    @property
    def truth(self) -> Indices:
        """Row of each image's class: int64 (N,)."""
        return np.array([self.table.names.index(name) for name in self.labels], dtype="int64")


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """What one setting reached: on the asked images of unseen classes, and over both kinds at every gamma.

    `by_class` is the accuracy of each unseen class among the unseen.
    """

    setting: str
    accuracy: float
    curve: list[Harmony]
    by_class: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Outcome:
    """One method on one split.

    Attributes:
        setting: chosen on the folds for unseen accuracy.
        accuracy: mean per-class top-1 among the unseen classes, test images, at that setting.
        gzsl_setting: chosen on the folds, with gamma, for the harmonic mean.
        gzsl: unseen, seen and harmonic mean over all classes at that setting and gamma.
        oracle_accuracy: the best accuracy of any setting on the test images.
        oracle_harmonic: the best harmonic mean of any setting and gamma on the test images.
        validation_accuracy: of the chosen setting, mean over the folds.
        by_class: test accuracy of each unseen class.
    """

    setting: str
    accuracy: float
    gzsl_setting: str
    gzsl: Harmony
    oracle_accuracy: float
    oracle_harmonic: float
    validation_accuracy: float
    by_class: dict[str, float]


def class_folds(seen: Sequence[str], unseen: Sequence[str], seed: int, folds: int = FOLDS) -> list[ClassSplit]:
    """Let each fold's quarter of the seen classes (two at least) play unseen; no class does so twice.

    Raises:
        TrainingError: where there are too few seen classes for a fold.
    """
    order = sorted(seen)
    random.Random(seed).shuffle(order)
    held = max(2, round(len(order) / 4))
    if len(order) < held + 2:
        raise TrainingError(f"{len(order)} seen classes are too few to choose settings on; four are needed")
    parts = [order[i * held : (i + 1) * held] for i in range(min(folds, len(order) // held))]
    return [
        ClassSplit(tuple(sorted(set(order) - set(part))), tuple(sorted(part)), tuple(sorted(unseen))) for part in parts
    ]


def evaluate(
    method: Method, data: Dataset, split: ClassSplit, seed: int, parts: Mapping[str, str] | None = None
) -> dict[str, Outcome]:
    """Choose on folds, learn again, look at the test images.

    Args:
        method: what is measured.
        data: images and rows.
        split: which classes are seen; its own validation classes are not used, the folds are.
        seed: of the division of the images, the folds and the method.
        parts: name of an outcome -> pattern of the settings that it may choose among; None: the method's name, all.

    Raises:
        TrainingError: where a pattern fits no setting, or scores are no numbers.
    """
    folds = [_fold_trials(method, data, fold, seed) for fold in class_folds(split.seen, split.unseen, seed)]
    images = draw_images(data.labels, split, seed)
    tests = _trials(method, data, images.train, (images.unseen_test, images.seen_test), split.seen, split.unseen, seed)
    outcomes = {}
    for name, pattern in (parts or {method.name: ""}).items():
        within = [i for i, trial in enumerate(tests) if re.search(pattern, trial.setting)]
        if not within:
            raise TrainingError(f"no setting of {method.name!r} fits {pattern!r}; there is {tests[0].setting!r}, say")
        outcomes[name] = choose([[fold[i] for i in within] for fold in folds], [tests[i] for i in within])
    return outcomes


def choose(folds: list[list[Trial]], tests: list[Trial]) -> Outcome:
    """Choose a setting, and a gamma, on the folds; say what they reach on the test images.

    Args:
        folds: trials of each fold, in the order of `tests`.
        tests: a trial a setting.
    """
    accuracy = _mean_over([[trial.accuracy for trial in fold] for fold in folds])
    harmonic = _mean_over([[[p.harmonic for p in trial.curve] for trial in fold] for fold in folds])
    chosen = int(accuracy.argmax())
    gzsl, gamma = np.unravel_index(int(harmonic.argmax()), harmonic.shape)
    return Outcome(
        setting=tests[chosen].setting,
        accuracy=tests[chosen].accuracy,
        gzsl_setting=tests[gzsl].setting,
        gzsl=tests[gzsl].curve[gamma],
        oracle_accuracy=max(trial.accuracy for trial in tests),
        oracle_harmonic=max(point.harmonic for trial in tests for point in trial.curve),
        validation_accuracy=float(accuracy[chosen]),
        by_class=tests[chosen].by_class,
    )


def _mean_over(folds: list[list[float]] | list[list[list[float]]]) -> NDArray[np.float64]:
    return np.mean(np.array(folds, dtype="float64"), axis=0)  # type: ignore[no-any-return]


def _fold_trials(method: Method, data: Dataset, fold: ClassSplit, seed: int) -> list[Trial]:
    images: ImageSplit = draw_images(data.labels, fold, seed)
    return _trials(method, data, images.fit, (images.validation, images.dev), fold.fit, fold.validation, seed)


def _trials(
    method: Method,
    data: Dataset,
    fit: Indices,
    asked: tuple[Indices, Indices],
    seen: Sequence[str],
    unseen: Sequence[str],
    seed: int,
) -> list[Trial]:
    """Learn from `fit`, score `asked` = (of unseen classes, of seen classes); a trial a setting."""
    table = data.table_for(fit, seen)
    problem = Problem(data.features, data.truth, table, fit, data.ids_of(seen), data.ids_of(unseen))
    ask = np.concatenate(asked)
    truth, first = data.truth[ask], len(asked[0])
    return [_trial(c, problem, truth, first) for c in method.candidates(problem, ask, seed)]


def _trial(candidate: Candidate, problem: Problem, truth: Indices, of_unseen: int) -> Trial:
    alone = candidate.scores if candidate.among_unseen is None else candidate.among_unseen
    everyone = np.concatenate([problem.seen, problem.unseen])
    if not (np.isfinite(alone[:, problem.unseen]).all() and np.isfinite(candidate.scores[:, everyone]).all()):
        raise TrainingError(
            f"the setting {candidate.setting} gives scores that are no numbers; lower its learning rate"
        )
    alone, named = alone[:of_unseen], truth[:of_unseen]
    right = problem.unseen[alone[:, problem.unseen].argmax(1)] == named
    return Trial(
        candidate.setting,
        per_class_accuracy(alone, named, problem.unseen),
        stacking_curve(candidate.scores, truth, problem.seen, problem.unseen),
        {problem.table.names[c]: float(right[named == c].mean()) for c in problem.unseen},
    )
