"""From a trained module to a model folder that `rszsl map` loads, with its figures on the test images."""

import csv
import datetime
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.torch import save_file

from rszsl.labels.calibrate import Calibrator
from rszsl.model.card import CARD_FILE, FILES_OF, TOWER_FILE, WEIGHTS_FILE
from rszsl.model.mlm import write_mlm
from rszsl.model.trained import describe, pack
from rszsl.zsl.calibrate import best_threshold, fit_calibrator, make_cases
from rszsl.zsl.data.hashes import sha256_of
from rszsl.zsl.experiments.results import git_revision
from rszsl.zsl.metrics import Harmony, best_harmony, per_class_accuracy, stacking_curve
from rszsl.zsl.runs.pixels import shrinkage
from rszsl.zsl.runs.toml import to_toml
from rszsl.zsl.runs.train import Training
from rszsl.zsl.runs.watch import attributes_of

Floats = NDArray[np.float32]
RESULT_FILE, LOG_FILE = "result.json", "epochs.csv"


def finish(training: Training) -> dict[str, Any]:
    """Write the model folder of a finished training; returns its result, which is also `result.json`.

    Temperature, epoch and output were chosen on validation classes; gamma of calibrated stacking is chosen on them and
    on kept-out images of the classes learnt from. The test images are looked at here, once.
    """
    parts, rows = training.material.parts, training.rows
    scores = {
        name: attributes_of(training.module, training.batches(ids))[training.module.output]
        for name, ids in (
            ("validation", parts.validation),
            ("dev", parts.dev),
            ("unseen", parts.unseen_test),
            ("seen", parts.seen_test),
        )
    }
    result = _result(training, scores, rows)
    folder = training.recipe.output
    folder.mkdir(parents=True, exist_ok=True)
    named = training.origin is not None and not training.recipe.tower.standalone
    save_file(pack(None if named else training.tower, training.module.heads, rows), folder / WEIGHTS_FILE)
    table = training.material.table
    told = describe(training.tower, training.module.heads, training.module.output, table.names, table.attributes)
    (folder / TOWER_FILE).write_text(told, encoding="utf-8")
    (folder / RESULT_FILE).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    _write_history(folder / LOG_FILE, training.history)
    calibrator, threshold = _calibrate(training, scores, rows)
    temporary = folder / "card.tmp"
    temporary.write_text(to_toml(_card(training, calibrator, threshold, result)), encoding="utf-8")
    temporary.replace(folder / CARD_FILE)
    write_mlm(folder)
    return result


def _write_history(file: Path, history: list[dict[str, float]]) -> None:
    with file.open("w", newline="", encoding="utf-8") as opened:
        writer = csv.DictWriter(opened, list(history[0]))
        writer.writeheader()
        writer.writerows(history)


def _result(training: Training, scores: dict[str, Floats], rows: Floats) -> dict[str, Any]:
    m = training.material
    unseen = m.rows_of(m.classes.unseen)
    chosen = _harmony_curve(training, scores, rows, ("validation", "dev"))
    gamma = best_harmony(chosen).gamma
    test = _harmony_curve(training, scores, rows, ("unseen", "seen"))
    at = next(point for point in test if point.gamma == gamma)
    truth = m.truth[m.parts.unseen_test]
    named = unseen[(scores["unseen"] @ rows.T)[:, unseen].argmax(1)]
    return {
        "name": training.recipe.name,
        "data": m.images.name,
        "data_sha256": m.images.sha256,
        "rows": dict(m.table.record),
        "seen": len(m.classes.seen),
        "trained_on": len(m.classes.fit),
        "unseen": len(unseen),
        "split_seed": training.recipe.split.seed,
        "seed": training.recipe.seed,
        "tower": training.tower.spec.name,
        "recipe_sha256": sha256_of(training.recipe.path),
        "command": training.recipe.command,
        "git": git_revision(Path(__file__).parent),
        "accuracy": per_class_accuracy(scores["unseen"] @ rows.T, truth, unseen),
        "chance": 1 / len(unseen),
        "epoch": training.best_epoch,
        "output": training.module.output,
        "gamma": gamma,
        "U": at.unseen,
        "S": at.seen,
        "H": at.harmonic,
        "oracle_H": best_harmony(test).harmonic,
        "curve": [[point.gamma, point.unseen, point.seen] for point in test],
        "by_class": {m.table.names[c]: float((named[truth == c] == c).mean()) for c in unseen},
    }


def _harmony_curve(
    training: Training, scores: dict[str, Floats], rows: Floats, kinds: tuple[str, str]
) -> list[Harmony]:
    m = training.material
    ids = {
        "validation": m.parts.validation,
        "dev": m.parts.dev,
        "unseen": m.parts.unseen_test,
        "seen": m.parts.seen_test,
    }
    played = m.classes.validation if kinds[0] == "validation" else m.classes.unseen
    known = m.classes.fit if kinds[1] == "dev" else m.classes.seen
    truth = np.concatenate([m.truth[ids[kind]] for kind in kinds])
    both = np.concatenate([scores[kind] for kind in kinds]) @ rows.T
    return stacking_curve(both, truth, m.rows_of(known), m.rows_of(played))


def _calibrate(training: Training, scores: dict[str, Floats], rows: Floats) -> tuple[Calibrator, float]:
    """Fit the presence probability on validation classes, which nothing was trained on."""
    m = training.material
    names = m.classes.validation
    attributes = np.concatenate([scores["validation"], scores["dev"]])
    truth = np.array(m.images.labels)[np.concatenate([m.parts.validation, m.parts.dev])]
    cases = make_cases(attributes, truth, names, rows[m.rows_of(names)], rows)
    calibrator = fit_calibrator(cases)
    return calibrator, best_threshold([cases], calibrator)


def _card(training: Training, calibrator: Calibrator, threshold: float, result: dict[str, Any]) -> dict[str, Any]:
    folder, recipe, spec = training.recipe.output, training.recipe, training.tower.spec
    return {
        "name": recipe.name,
        "version": "1",
        "architecture": "dsva-tower",
        "sha256": {name: sha256_of(folder / name) for name in FILES_OF["dsva-tower"]},
        "input": {
            "px": spec.input_px,
            "gsd_m": round(recipe.data.gsd_m * shrinkage(training.material.images.paths, spec.input_px), 4),
            "bands": ["red", "green", "blue"],
            "mean": list(spec.mean),
            "std": list(spec.std),
        },
        "shape": {},
        **({"tower": asdict(training.origin)} if training.origin else {}),
        "calibrator": {
            "kind": "logistic",
            "bias": calibrator.bias,
            "weight_similarity": calibrator.weight_similarity,
            "weight_margin": calibrator.weight_margin,
            "background_max_cosine": calibrator.background_max_cosine,
            "min_confidence": threshold,
        },
        "training": {
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
            **{key: result[key] for key in ("command", "recipe_sha256", "data", "data_sha256", "seed", "split_seed")},
            "seen": list(training.material.classes.seen),
            "unseen": list(training.material.classes.unseen),
        },
        "accuracy": [
            {"what": "unseen classes among themselves, mean per class", "value": result["accuracy"]},
            {"what": "harmonic mean of unseen and seen", "value": result["H"]},
        ],
    }
