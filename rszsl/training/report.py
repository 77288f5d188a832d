"""The figures of a trained model, as its card states them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rszsl.labels.calibrate import Calibrator
from rszsl.model.text import unit
from rszsl.training.calibrate import make_cases, measure_presence
from rszsl.training.evaluate import class_accuracy
from rszsl.training.knowledge import Flags, Knowledge
from rszsl.training.recipe import Recipe

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
    teacher = unit(known.scores)

    def entry(what: str, value: float, n: int, classes: int) -> dict[str, Any]:
        return {"what": what, "value": float(value), "n": int(n), "classes": classes, "data": sets}

    def accuracy(
        what: str, scores: Floats, wanted: Flags, rows: Mapping[str, Floats], among: Sequence[str]
    ) -> dict[str, Any]:
        similarity = scores[wanted] @ np.stack([rows[name] for name in among]).T
        return entry(what, class_accuracy(similarity, among, known.concepts[wanted]), wanted.sum(), len(among))

    every = tuple(recipe.concepts)
    asked = test | holdout
    cases = make_cases(attributes[asked], known.concepts[asked], split.test, np.stack([by_text[n] for n in split.test]))
    ranks, gap = measure_presence(cases, background, calibrator)
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
        accuracy("the teacher: unseen concepts among themselves, by name", teacher, test, by_text, split.test),
        entry("presence of unseen concepts, mean AUROC", ranks, asked.sum(), len(split.test)),
        entry("presence of unseen concepts, calibration error at one in five", gap, asked.sum(), len(split.test)),
        {**names, "n": space.retrieval_names, "classes": space.retrieval_names, "data": "CLIP text vectors of names"},
    ]  # fmt: skip
