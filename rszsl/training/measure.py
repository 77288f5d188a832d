"""Measure what the models of a recipe can do, on what they never saw."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rszsl.labels.calibrate import Calibrator, score
from rszsl.labels.examples import class_row
from rszsl.labels.graph import neighbour_graph
from rszsl.labels.refine import NEIGHBOURS, presence_prior, refine
from rszsl.model.names import name_key
from rszsl.model.prompts import NamePrompts
from rszsl.model.text import AttributeText, unit
from rszsl.training.constants import foreign_cases
from rszsl.training.decorrelate import symmetric_roots
from rszsl.training.folds import Flags
from rszsl.training.knowledge import Knowledge
from rszsl.training.recipe import Recipe
from rszsl.training.said import VIEWS_SHOWN, Said
from rszsl.training.textside import read_places
from rszsl.zsl.calibrate import Cases, best_threshold, fit_calibrator
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


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """What a fold's model is asked.

    Attributes:
        names: of the unseen concepts.
        rows: float32 (C, K), of these.
        every: all concepts, seen and unseen.
        many: these and other places, `AT_ONCE` of them at least.
        calibrator: fitted on the other folds' models.
        min_confidence: likewise.
        seed: of what is drawn.
    """

    names: tuple[str, ...]
    rows: Floats
    every: list[str]
    many: list[str]
    calibrator: Calibrator
    min_confidence: float
    seed: int


def measure_fold(recipe: Recipe, said: Said, others: Sequence[Said]) -> Figures:
    """Measure a fold's model on its unseen concepts.

    Args:
        recipe: of the run.
        said: by the fold's model.
        others: by the other folds' models, on which presence is calibrated, but for the concepts asked for here.
    """
    known, text = said.known, said.model.text
    unseen, names = known.parts.unseen, known.fold.unseen
    bare = _rows(replace(text, prompts=NamePrompts()), names)
    asked = _question(recipe, said, others)
    return _foreign(said) | {
        "classes": len(names),
        "images": int(unseen.sum()),
        "chance": 1 / len(names),
        "teacher, plain prompt, 80 anchors": _prompted(recipe, known, None),
        "teacher, plain prompt, all anchors": _prompted(recipe, known, recipe.teachers.anchors),
        "teacher's attributes": _teacher(recipe, known),
        "model, bare names": class_accuracy(said.of(unseen) @ bare.T, names, known.concepts[unseen]),
        **_answers(said, asked, ""),
        **(_answers(views, asked, f", {VIEWS_SHOWN} views") if (views := said.in_views) else {}),
    }


def _question(recipe: Recipe, said: Said, others: Sequence[Said]) -> Question:
    known, text, names = said.known, said.model.text, said.known.fold.unseen
    every = sorted({*known.seen, *names})
    places = [p for p in read_places() if text.taught_row(p) is None and p not in every]
    many = [*every, *places][: max(AT_ONCE, len(every))]
    asked_others = [other.unseen_cases(names) for other in others]
    calibrator = replace(
        fit_calibrator(*asked_others),
        taught=fit_calibrator(*(other.taught_cases(names) for other in others), *foreign_cases(others, names)),
    )
    least = best_threshold(asked_others, calibrator)
    return Question(names, _rows(text, names), every, many, calibrator, least, recipe.seed)


def _answers(said: Said, asked: Question, shown_as: str) -> Figures:
    """Measure a fold's model, in one view of each image or in several, as `shown_as` says."""
    known, names, every, many = said.known, asked.names, asked.every, asked.many
    unseen, kept_out = known.parts.unseen, known.parts.kept_out
    truth, shown = known.concepts[unseen], said.of(unseen)
    among = _confidence(said, asked.calibrator, unseen, many)
    seen = _confidence(said, asked.calibrator, kept_out, every)
    ranks, gap = measure_mosaics(said.unseen_cases(), asked.calibrator, asked.seed)
    model, mosaics = f"model{shown_as}", f"unseen on mosaics, four fifths other{shown_as}"
    return {
        model: class_accuracy(shown @ asked.rows.T, names, truth),
        f"{model}, refined": _refined(said, asked),
        f"{model}, {SHOWN} examples a class and the name": _with_examples(shown, asked.rows, truth, names, asked.seed),
        f"{model}, among all concepts: unseen": class_accuracy(among[:, : len(every)], every, truth),
        f"{model}, among all concepts: seen, images kept out": class_accuracy(seen, every, known.concepts[kept_out]),
        f"{model}, {len(many)} names at once: top 1": _top(among, many, truth, 1),
        f"{model}, {len(many)} names at once: top 5": _top(among, many, truth, 5),
        f"{mosaics}: AUROC of presence": ranks,
        f"{mosaics}: calibration error": gap,
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


def measure_final(recipe: Recipe, said: Said, folds: Sequence[Said]) -> Figures:
    """Measure the final model on images kept out of the concepts that it was taught.

    The confidence is measured on every second image, with constants from the others and from sets that a fold's model
    never saw; the constants that are shipped come from all.
    """
    known, text = said.known, said.model.text
    by_name = _rows(text, known.seen)
    truth = known.concepts[known.parts.asked]
    cases = said.taught_cases()
    constants = fit_calibrator(cases.half(0), *foreign_cases(folds))
    ranks, gap = measure_mosaics(cases.half(1), constants, recipe.seed)
    return {
        "classes": len(known.seen),
        "images": len(truth),
        "chance": 1 / len(known.seen),
        **measure_taught(recipe, said, ""),
        **(measure_taught(recipe, views, f", {VIEWS_SHOWN} views") if (views := said.in_views) else {}),
        "model, by name alone": class_accuracy(said.attributes @ by_name.T, known.seen, truth),
        "taught on mosaics, four fifths other: AUROC of presence": ranks,
        "taught on mosaics, four fifths other: calibration error": gap,
    }


def measure_taught(recipe: Recipe, said: Said, shown_as: str) -> Figures:
    """Measure what the final model finds of what it was taught, on images kept out: of all sets, of each, of each list.

    Args:
        recipe: of the run.
        said: by the final model.
        shown_as: follows `model` in the names of the figures.
    """
    known, text, model = said.known, said.model.text, f"model{shown_as}"
    truth, seen = known.concepts[known.parts.asked], known.seen
    sets = np.array([image.set_name for image in known.images])[known.parts.asked]
    cosines = said.attributes @ np.stack([text.phrase_row(name) for name in seen]).T
    found = {model: class_accuracy(cosines, seen, truth)}
    for name in recipe.sets:
        found[f"{model}, images of {name}"] = class_accuracy(cosines[sets == name], seen, truth[sets == name])
    for title, names in recipe.lists.items():
        concepts = [seen[text.taught[name_key(name)]] for name in names]
        rows, shown = np.stack([text.phrase_row(name) for name in names]), np.isin(truth, concepts)
        found[f"{model}, {len(names)} names of {title}"] = class_accuracy(
            said.attributes[shown] @ rows.T, concepts, truth[shown]
        )
    return found


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
    taught = [text.taught_row(name) is not None for name in names]
    return score(said.of(wanted), rows, said.model.background_rows, calibrator, taught=taught).confidence


def _refined(said: Said, asked: Question) -> float:
    """What `--refine` reaches where the unseen concepts' images are the tiles of one map, without their places."""
    unseen = said.known.parts.unseen
    shown = np.ascontiguousarray(said.of(unseen))
    prior = presence_prior(_confidence(said, asked.calibrator, unseen, asked.names), asked.min_confidence)
    posterior = refine(shown, prior, neighbour_graph(shown, NEIGHBOURS))
    return class_accuracy(posterior, asked.names, said.known.concepts[unseen])


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
