"""One training run from recipe to model folder: gather, train, write, calibrate, measure."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rszsl.labels.calibrate import Calibrator
from rszsl.model.bundle import Model
from rszsl.model.checkpoint import load_model
from rszsl.model.dsva import Dsva
from rszsl.model.mlm import write_mlm
from rszsl.training.card import calibrator_table, full_card
from rszsl.training.data import LabelledImage
from rszsl.training.decorrelate import decorrelate
from rszsl.training.export import base_card, write_card, write_files
from rszsl.training.knowledge import Flags, Knowledge, gather
from rszsl.training.prepare import build_features, build_network, build_training_set, rest_features
from rszsl.training.recipe import Recipe
from rszsl.training.report import measure_model, measure_teacher
from rszsl.training.train import joint_scores, predict, train_network
from rszsl.training.trunk import plain_view, read_square
from rszsl.zsl.calibrate import Cases, best_threshold, fit_calibrator, make_cases
from rszsl.zsl.data.folders import data_root
from rszsl.zsl.metrics import class_accuracy

Floats = NDArray[np.float32]
Log = Callable[[str], None]
WATCH_EVERY = 3
"""One in so many images is looked at after an epoch; the log shows the way, the card has the figures."""
UNFITTED = Calibrator(bias=0.0, weight_similarity=1.0, weight_margin=0.0, background_max_cosine=0.6)
"""Stands in a card between the writing of the weights and the fit on what the written model says."""


def run(recipe: Recipe, log: Log) -> Path:
    """Train the model of a recipe; returns its folder. What an earlier run finished is not done again.

    Raises:
        TrainingError: where data or recipe cannot be trained on.
    """
    data = data_root()
    known = gather(recipe, data, log)
    net = build_network(recipe, len(known.attributes), known.embeddings.shape[1])
    features = build_features(recipe, known, net, log)
    watched = known.holdout | known.of(known.split.validation)
    watched &= np.arange(len(watched)) % WATCH_EVERY == 0
    shown = rest_features(known, features, watched)

    def measure(trained: Dsva) -> str:
        return _progress(predict(trained, shown), known, watched)

    lessons = build_training_set(known, features)
    train_network(net, lessons, recipe.training, recipe.work / recipe.name, seed=recipe.seed, measure=measure, log=log)
    scores = joint_scores(net, features.train[:, 0])
    teacher = measure_teacher(recipe, known)
    known = replace(known, text=decorrelate(net, known.text, scores, recipe.alignment.shrinkage))
    write_files(recipe.output, net, known)
    finish(recipe, known, data, teacher, log)
    return recipe.output


def finish(recipe: Recipe, known: Knowledge, data: Path, teacher: dict[str, Any], log: Log) -> None:
    """Calibrate and measure the written files, as a user loads them, and write the card."""
    card = base_card(recipe, recipe.output)
    write_card(recipe.output, {**card, "calibrator": calibrator_table(UNFITTED, 0.5)})
    model = load_model(str(recipe.output), device="cpu")
    others = np.flatnonzero(~known.train)
    attributes = np.zeros(known.scores.shape, "float32")
    attributes[others] = encode_images(model, [known.images[i] for i in others])
    cases = presence_cases(known, attributes, known.split.validation)
    calibrator = fit_calibrator(cases, model.background_rows)
    threshold = best_threshold(cases, model.background_rows, calibrator)
    log(f"calibrator: {calibrator}, threshold {threshold}")
    accuracy = [*measure_model(recipe, known, attributes, model.background_rows, calibrator), teacher]
    for entry in accuracy:
        log(f"{entry['what']}: {entry['value']:.3f} (n {entry['n']})")
    write_card(recipe.output, full_card(card, recipe, known, data, calibrator, threshold, accuracy))
    write_mlm(recipe.output)


def presence_cases(known: Knowledge, attributes: Floats, names: tuple[str, ...]) -> Cases:
    """Ask of the images of `names`, and of those kept out of the seen concepts, whether they show each name."""
    asked = known.of(names) | known.holdout
    rows = np.stack([known.text.text_row(name) for name in names])
    return make_cases(attributes[asked], known.concepts[asked], names, rows)


def encode_images(model: Model, images: list[LabelledImage], batch_size: int = 32) -> Floats:
    """Encode images as the user's tiles are: attributes float32 (N, K), unit length."""
    parts = []
    for start in range(0, len(images), batch_size):
        views = [plain_view(read_square(i.path), model.card.input_px) for i in images[start : start + batch_size]]
        parts.append(model.encode(np.stack([view.numpy() for view in views])).attributes)
    return np.concatenate(parts)


def _progress(attributes: Floats, known: Knowledge, watched: Flags) -> str:
    """Say how well it goes on validation concepts, by text, and on kept-out images of seen ones, by taught rows."""
    truth, text, split = known.concepts[watched], known.text, known.split
    unseen = np.isin(truth, split.validation)
    by_text = np.stack([text.text_row(name) for name in split.validation])
    both = np.concatenate([by_text, text.taught_rows])
    among = class_accuracy(attributes[unseen] @ by_text.T, split.validation, truth[unseen])
    within = class_accuracy(attributes[unseen] @ both.T, split.validation + split.seen, truth[unseen])
    seen = class_accuracy(attributes[~unseen] @ text.taught_rows.T, split.seen, truth[~unseen])
    return f"validation {among:.3f}, beside seen {within:.3f}, seen {seen:.3f}"
