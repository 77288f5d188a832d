"""What the models of a recipe can do, on what they never saw: figures for the card, a record, and a table."""

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rszsl.labels.calibrate import Calibrator, score
from rszsl.labels.examples import class_row
from rszsl.labels.graph import neighbour_graph
from rszsl.labels.refine import NEIGHBOURS, presence_prior, refine
from rszsl.model.text import AttributeText, unit
from rszsl.training.constants import foreign_cases
from rszsl.training.decorrelate import symmetric_roots
from rszsl.training.folds import Flags
from rszsl.training.knowledge import Knowledge
from rszsl.training.recipe import Recipe
from rszsl.training.said import Said
from rszsl.training.textside import read_places
from rszsl.zsl.calibrate import Cases, best_threshold, fit_calibrator
from rszsl.zsl.data.hashes import sha256_of
from rszsl.zsl.experiments.table import insert_table
from rszsl.zsl.metrics import auroc, calibration_error, class_accuracy
from rszsl.zsl.rows.bridge import ridge_map
from rszsl.zsl.rows.vectors import phrase_vectors, read_anchors, read_known

Floats = NDArray[np.float32]
Figures = dict[str, float]
AT_ONCE = 40
"""Names that an image is looked for among."""
SHOWN, DRAWS = 5, 5
"""Examples a class, and how often they are drawn."""
MOSAICS, LISTED, TILES = 50, 3, 400


def measure_fold(recipe: Recipe, said: Said, others: Sequence[Said]) -> Figures:
    """Measure a fold's model on its unseen concepts.

    Args:
        recipe: of the run.
        said: by the fold's model.
        others: by the other folds' models, on which presence is calibrated, but for the concepts asked for here.
    """
    known, text = said.known, said.model.text
    unseen, names = known.parts.unseen, known.fold.unseen
    plain = replace(text, prompts={})
    by_text = np.stack([text.text_row(name) for name in names])
    every = sorted({*known.seen, *names})
    many = [*every, *[p for p in read_places() if p not in text.taught and p not in every]][: max(AT_ONCE, len(every))]
    asked_others = [other.unseen_cases(names) for other in others]
    calibrator = replace(
        fit_calibrator(*asked_others),
        taught=fit_calibrator(*(other.taught_cases(names) for other in others), *foreign_cases(others, names)),
    )
    ranks, gap = measure_mosaics(said.unseen_cases(), calibrator, recipe.seed)
    truth, shown = known.concepts[unseen], said.of(unseen)
    kept_out = known.parts.kept_out
    among = _confidence(said, calibrator, unseen, many)
    return _foreign(said) | {
        "classes": len(names),
        "images": int(unseen.sum()),
        "chance": 1 / len(names),
        "teacher, plain prompt, 80 anchors": _prompted(recipe, known, None),
        "teacher, plain prompt, all anchors": _prompted(recipe, known, recipe.teachers.anchors),
        "teacher's attributes": _teacher(recipe, known),
        "model, bare names": class_accuracy(shown @ _rows(plain, names).T, names, truth),
        "model": class_accuracy(shown @ by_text.T, names, truth),
        "model, refined": _refined(said, calibrator, names, best_threshold(asked_others, calibrator)),
        f"model, {SHOWN} examples a class and the name": _with_examples(shown, by_text, truth, names, recipe.seed),
        "model, among all concepts: unseen": class_accuracy(among[:, : len(every)], every, truth),
        "model, among all concepts: seen, images kept out": class_accuracy(
            _confidence(said, calibrator, kept_out, every), every, known.concepts[kept_out]
        ),
        f"model, {len(many)} names at once: top 1": _top(among, many, truth, 1),
        f"model, {len(many)} names at once: top 5": _top(among, many, truth, 5),
        "unseen on mosaics, four fifths other: AUROC of presence": ranks,
        "unseen on mosaics, four fifths other: calibration error": gap,
    }


def _foreign(said: Said) -> Figures:
    """What the model makes of a whole set that it never saw, of concepts that other sets taught it."""
    cases = said.foreign_cases()
    if cases is None:
        return {}
    shown, classes = cases.present.any(1), cases.present.shape[1]
    right = (cases.attributes @ cases.rows.T)[shown].argmax(1) == cases.present[shown].argmax(1)
    by_class = [right[cases.present[shown][:, c]].mean() for c in range(classes)]
    return {f"model, {classes} taught concepts in a set that it never saw": float(np.mean(by_class))}


def measure_final(said: Said, folds: Sequence[Said], seed: int) -> Figures:
    """Measure the final model on images kept out of the concepts that it was taught.

    The confidence is measured on every second image, with constants from the others and from sets that a fold's model
    never saw; the constants that are shipped come from all.
    """
    known, text = said.known, said.model.text
    by_name, best = _rows(text, known.seen), np.stack([text.phrase_row(name) for name in known.seen])
    truth = known.concepts[known.parts.asked]
    cases = said.taught_cases()
    ranks, gap = measure_mosaics(cases.half(1), fit_calibrator(cases.half(0), *foreign_cases(folds)), seed)
    return {
        "classes": len(known.seen),
        "images": len(truth),
        "chance": 1 / len(known.seen),
        "model": class_accuracy(said.attributes @ best.T, known.seen, truth),
        "model, by name alone": class_accuracy(said.attributes @ by_name.T, known.seen, truth),
        "taught on mosaics, four fifths other: AUROC of presence": ranks,
        "taught on mosaics, four fifths other: calibration error": gap,
    }


def measure_mosaics(cases: Cases, calibrator: Calibrator, seed: int) -> tuple[float, float]:
    """Ask for a few classes on mosaics of tiles of which most show none of them.

    Each of `MOSAICS` lists `LISTED` of the classes; a fifth of its tiles shows one of these, the rest other things.

    Returns:
        Mean AUROC of a listed class's presence, and the calibration error over all of the answers.
    """
    rng = np.random.default_rng(seed)
    confidence, ranks, answers, truths = cases.confidence(calibrator), [], [], []
    for _ in range(MOSAICS):
        listed = rng.choice(cases.present.shape[1], LISTED, replace=False)
        shows = cases.present[:, listed].any(1)
        tiles = np.concatenate([
            rng.choice(np.flatnonzero(shows), TILES // 5), rng.choice(np.flatnonzero(~shows), TILES - TILES // 5)
        ])  # fmt: skip
        said, truth = confidence[np.ix_(tiles, listed)], cases.present[np.ix_(tiles, listed)]
        ranks += [auroc(said[:, c], truth[:, c]) for c in range(LISTED) if truth[:, c].any()]
        answers.append(said.ravel())
        truths.append(truth.ravel())
    answered = np.concatenate(answers)
    return float(np.mean(ranks)), calibration_error(answered, np.concatenate(truths), np.ones(len(answered)))


def _rows(text: AttributeText, names: Sequence[str]) -> Floats:
    return np.stack([text.text_row(name) for name in names])


def _confidence(said: Said, calibrator: Calibrator, wanted: Flags, names: Sequence[str]) -> Floats:
    """Give what a map would say of some images: float32 (n, C)."""
    text = said.model.text
    rows = np.stack([text.phrase_row(name) for name in names])
    taught = [name in text.taught for name in names]
    return score(said.of(wanted), rows, said.model.background_rows, calibrator, taught=taught).confidence


def _refined(said: Said, calibrator: Calibrator, names: Sequence[str], min_confidence: float) -> float:
    """What `--refine` reaches where the unseen concepts' images are the tiles of one map, without their places."""
    unseen = said.known.parts.unseen
    shown = np.ascontiguousarray(said.of(unseen))
    prior = presence_prior(_confidence(said, calibrator, unseen, names), min_confidence)
    posterior = refine(shown, prior, neighbour_graph(shown, NEIGHBOURS))
    return class_accuracy(posterior, names, said.known.concepts[unseen])


def _top(confidence: Floats, names: Sequence[str], truth: NDArray[np.str_], most: int) -> float:
    """Mean over the true classes of the share of images whose own name is among the `most` surest."""
    surest = np.array(names)[np.argsort(-confidence, axis=1, kind="stable")[:, :most]]
    found = (surest == truth[:, None]).any(1)
    return float(np.mean([found[truth == name].mean() for name in np.unique(truth)]))


def _with_examples(shown: Floats, rows: Floats, truth: NDArray[np.str_], names: Sequence[str], seed: int) -> float:
    """Mean over draws of the examples, which are then not asked."""
    found = []
    for draw in range(DRAWS):
        rng = np.random.default_rng([seed, draw])
        examples = [rng.permutation(np.flatnonzero(truth == name))[:SHOWN] for name in names]
        learnt = np.stack([class_row(row, shown[at]) for row, at in zip(rows, examples, strict=True)])
        left = np.setdiff1d(np.arange(len(truth)), np.concatenate(examples))
        found.append(class_accuracy(shown[left] @ learnt.T, names, truth[left]))
    return float(np.mean(found))


def _prompted(recipe: Recipe, known: Knowledge, anchors: Path | None) -> float:
    """What the teacher reaches with bare names and nothing learnt but the way between the two text spaces."""
    fold, unseen = known.fold, known.parts.unseen
    table, bridge = read_known(recipe.teachers.text_vectors), read_anchors(recipe.teachers.text_vectors, anchors)
    vectors = phrase_vectors(fold.unseen, table, known.space.centre, known.space.encoder)
    prompts = unit(vectors @ ridge_map(bridge.b32, bridge.b16, recipe.alignment.ridge))
    images = unit(known.embeddings[unseen] - known.embeddings[known.parts.train].mean(0))
    return class_accuracy(images @ prompts.T, fold.unseen, known.concepts[unseen])


def _teacher(recipe: Recipe, known: Knowledge) -> float:
    """What the teacher's own attribute scores reach: the most that the model could have learnt."""
    unseen, names = known.parts.unseen, known.fold.unseen
    learnt = known.scores[known.parts.train]
    inverse, root = symmetric_roots(learnt, recipe.alignment.shrinkage)
    scores = unit((known.scores[unseen] - learnt.mean(0)) @ inverse)
    return class_accuracy(scores @ unit(_rows(known.text, names) @ root).T, names, known.concepts[unseen])


def accuracy_entries(recipe: Recipe, figures: Mapping[str, Figures]) -> list[dict[str, Any]]:
    """Give the figures as a card lists them."""
    return [
        {
            "what": f"{fold}: {what}",
            "value": round(value, 4),
            "n": int(found["images"]),
            "classes": int(found["classes"]),
            "data": "+".join(recipe.sets),
        }
        for fold, found in figures.items()
        for what, value in found.items()
        if what not in ("classes", "images")
    ]


def write_report(recipe: Recipe, figures: Mapping[str, Figures]) -> None:
    """Write the record of all figures, and their table between the marks of the page.

    Raises:
        TrainingError: where the page lacks the marks.
    """
    git = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    record = {
        "command": f"python -m rszsl.training {recipe.path.as_posix()}",
        "git_revision": git or None,
        "seed": recipe.seed,
        "recipe_sha256": sha256_of(recipe.path),
        "figures": {name: {what: round(value, 4) for what, value in found.items()} for name, found in figures.items()},
    }
    recipe.record.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    insert_table(recipe.page, "bundled", _table(figures))


def _table(figures: Mapping[str, Figures]) -> str:
    """One column a fold, one line a figure, in per cent."""
    lines = list(dict.fromkeys(what for found in figures.values() for what in found))
    head = f"| | {' | '.join(figures)} |\n| --- | {' | '.join('---:' for _ in figures)} |\n"
    return head + "".join(
        f"| {what} | {' | '.join(_cell(found, what) for found in figures.values())} |\n" for what in lines
    )


def _cell(found: Figures, what: str) -> str:
    if what not in found:
        return ""
    return str(int(found[what])) if what in ("classes", "images") else f"{100 * found[what]:.1f}"
