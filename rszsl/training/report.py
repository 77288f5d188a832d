"""The figures of a trained model, as its card states them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rszsl.labels.calibrate import Calibrator
from rszsl.model.text import unit
from rszsl.training.decorrelate import symmetric_roots
from rszsl.training.knowledge import Flags, Knowledge
from rszsl.training.recipe import Recipe
from rszsl.zsl.calibrate import make_cases, measure_presence
from rszsl.zsl.metrics import class_accuracy

Floats = NDArray[np.float32]


def measure_model(
    recipe: Recipe, known: Knowledge, attributes: Floats, background: Floats, calibrator: Calibrator
) -> list[dict[str, Any]]:
    """Measure on test concepts, validation concepts and kept-out images of seen ones.

    Args:
        recipe: of the run.
        known: with the truth.
        attributes: (N, K), the model's word on every image that is not trained on, unit length.
        background: (B, K), unit rows.
        calibrator: fitted on the validation concepts.
    """
    split, text = known.split, known.text
    test, holdout = known.of(split.test), known.holdout
    by_text = {name: text.text_row(name) for name in recipe.concepts}
    best = {name: text.phrase_row(name) for name in recipe.concepts}
    sets = "+".join(recipe.sets)

    def entry(what: str, value: float, n: int, classes: int) -> dict[str, Any]:
        return _entry(what, value, n, classes, sets)

    def accuracy(
        what: str, scores: Floats, wanted: Flags, rows: Mapping[str, Floats], among: Sequence[str]
    ) -> dict[str, Any]:
        similarity = scores[wanted] @ np.stack([rows[name] for name in among]).T
        return entry(what, class_accuracy(similarity, among, known.concepts[wanted]), wanted.sum(), len(among))

    every = tuple(recipe.concepts)
    asked = test | holdout

    def presence(names: Sequence[str]) -> tuple[float, float]:
        rows = np.stack([best[name] for name in names])
        cases = make_cases(attributes[asked], known.concepts[asked], names, rows)
        return measure_presence(cases, background, calibrator)

    (ranks, gap), (seen_ranks, seen_gap) = presence(split.test), presence(split.seen)
    space = known.space
    names = {"what": "held-out names of several words, text retrieval@1", "value": space.retrieval}
    return [
        accuracy("unseen concepts among themselves, by name", attributes, test, by_text, split.test),
        accuracy("unseen concepts among all concepts", attributes, test, best, every),
        accuracy("seen concepts among all concepts, images kept out", attributes, holdout, best, every),
        accuracy("seen concepts among themselves, images kept out", attributes, holdout, best, split.seen),
        accuracy("seen concepts among themselves by name alone", attributes, holdout, by_text, split.seen),
        accuracy(
            "validation concepts among themselves, by name (constants were chosen on them)",
            attributes, known.of(split.validation), by_text, split.validation,
        ),
        entry("presence of unseen concepts, mean AUROC", ranks, asked.sum(), len(split.test)),
        entry("presence of unseen concepts, calibration error at one in five", gap, asked.sum(), len(split.test)),
        entry("presence of seen concepts, mean AUROC", seen_ranks, asked.sum(), len(split.seen)),
        entry("presence of seen concepts, calibration error at one in five", seen_gap, asked.sum(), len(split.seen)),
        {**names, "n": space.retrieval_names, "classes": space.retrieval_names, "data": "CLIP text vectors of names"},
    ]  # fmt: skip


def measure_teacher(recipe: Recipe, known: Knowledge) -> dict[str, Any]:
    """Measure what the teacher's own scores reach on the test concepts: the most that the model could have learnt.

    Args:
        recipe: of the run.
        known: with the text side as it was before the network's decorrelation; the teacher has its own.
    """
    names, wanted = known.split.test, known.of(known.split.test)
    inverse, root = symmetric_roots(known.scores[known.train], recipe.alignment.shrinkage)
    scores = unit((known.scores - known.scores[known.train].mean(0)) @ inverse)
    rows = unit(np.stack([known.text.text_row(name) for name in names]) @ root)
    value = class_accuracy(scores[wanted] @ rows.T, names, known.concepts[wanted])
    what = "the teacher: unseen concepts among themselves, by name"
    return _entry(what, value, wanted.sum(), len(names), "+".join(recipe.sets))


def _entry(what: str, value: float, n: int, classes: int, data: str) -> dict[str, Any]:
    return {"what": what, "value": float(value), "n": int(n), "classes": classes, "data": data}
