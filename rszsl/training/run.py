"""From recipe to model folder: a model for each fold, measured; then the one that is shipped, calibrated on theirs."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rszsl.errors import TrainingError
from rszsl.labels.calibrate import Calibrator
from rszsl.model.bundle import DsvaModel, Model
from rszsl.model.card import CARD_FILE, HASHED_FILES
from rszsl.model.checkpoint import load_model
from rszsl.model.device import parse_device
from rszsl.model.dsva import Dsva
from rszsl.model.text import AttributeText
from rszsl.model.views import many_views
from rszsl.training.card import calibrator_table, full_card
from rszsl.training.constants import calibrate
from rszsl.training.data import LabelledImage
from rszsl.training.decorrelate import decorrelate, lean_on_network
from rszsl.training.direct import fit_direct
from rszsl.training.export import base_card, write_card, write_files
from rszsl.training.folds import Fold
from rszsl.training.graph import write_graph
from rszsl.training.knowledge import Knowledge, gather
from rszsl.training.measure import measure_final, measure_fold
from rszsl.training.prepare import build_features, build_lesson, build_network, prepare_trunk
from rszsl.training.recipe import Recipe, claim_work
from rszsl.training.report import accuracy_entries, write_report
from rszsl.training.said import VIEWS_SHOWN, Said
from rszsl.training.train import TrainingSet, joint_scores, plain_attributes, pooled_features, train_network
from rszsl.training.trunk import plain_view, read_square
from rszsl.zsl.data.folders import data_root
from rszsl.zsl.metrics import class_accuracy

Floats = NDArray[np.float32]
Log = Callable[[str], None]
FINAL, MODEL = "final", "model"
"""The fold that is shipped, and the folder of each fold's model under its own."""
WATCH_EVERY = 3
"""One in so many images is looked at after an epoch; the log shows the way, the record has the figures."""
UNFITTED = Calibrator(bias=0.0, weight_similarity=1.0, weight_margin=0.0, background_max_cosine=0.6)
"""Stands in a card between the writing of the weights and the fit on what the written models say."""


def train_only(recipe: Recipe, name: str, log: Log) -> Path:
    """Train one fold, or the final model, and nothing else, so that several can be trained side by side.

    Raises:
        TrainingError: where there is no such fold, data or recipe cannot be trained on, or the work folder is another
            recipe's.
    """
    folds = {fold.name: fold for fold in (*recipe.folds, _final(recipe))}
    if name not in folds:
        raise TrainingError(f"{recipe.path} has no fold {name!r}; it has {', '.join(folds)}")
    claim_work(recipe)
    prepare_trunk(recipe, data_root(), log)
    _told(recipe, folds[name], data_root(), log)
    return recipe.work / name


def _final(recipe: Recipe) -> Fold:
    return Fold(FINAL, recipe.sets, ())


def run(recipe: Recipe, log: Log) -> Path:
    """Train and measure the models of all folds, and the final one; what an earlier run finished is not done again.

    Raises:
        TrainingError: where data or recipe cannot be trained on, or the work folder is another recipe's.
    """
    claim_work(recipe)
    data = data_root()
    prepare_trunk(recipe, data, log)
    told = [_told(recipe, fold, data, log) for fold in recipe.folds]
    figures = {s.known.fold.name: measure_fold(recipe, s, [t for t in told if t is not s]) for s in told}
    for name, measured in figures.items():
        log(f"{name}: {measured}")
    final = _told(recipe, _final(recipe), data, log)
    constants = calibrate(final, told, recipe.seed)
    figures[FINAL] = measure_final(recipe, final, told)
    log(f"{FINAL}: {figures[FINAL]}")
    _ship(recipe, full_card(recipe, final.known, data, constants, accuracy_entries(recipe, figures)))
    write_report(recipe, figures)
    return recipe.output


def _ship(recipe: Recipe, card: Mapping[str, Any]) -> None:
    """Put the final model where users find it, with its whole card."""
    recipe.output.mkdir(parents=True, exist_ok=True)
    for name in HASHED_FILES:
        shutil.copyfile(recipe.work / FINAL / MODEL / name, recipe.output / name)
    write_card(recipe.output, {**base_card(recipe, recipe.output), **card})
    write_graph(recipe.output)


def _told(recipe: Recipe, fold: Fold, data: Path, log: Log) -> Said:
    """Train a fold's model, or load it, and hear what it says of the images that it did not learn from."""
    log(f"fold {fold.name}: {len(fold.unseen)} concepts unseen")
    known = gather(recipe, fold, data, log)
    work = recipe.work / fold.name
    folder = work / MODEL
    if not (folder / CARD_FILE).exists():
        net = _train(recipe, known, work, log)
        aligned = replace(known, text=_aligned(recipe, known, net, log))
        write_files(folder, net, aligned, recipe.aliases, recipe.network.bits)
        write_card(folder, {**base_card(recipe, folder), "calibrator": calibrator_table(UNFITTED, None, 0.5)})
    model = load_model(str(folder), device="cpu")
    assert isinstance(model, DsvaModel)
    return Said(known, model, *_heard(recipe, known, model, work, log))


def _heard(recipe: Recipe, known: Knowledge, model: DsvaModel, work: Path, log: Log) -> tuple[Floats, Floats | None]:
    """Hear what a model says of the images that are asked, in one view each and in several."""
    if isinstance(net := model.network, Dsva) and recipe.network.trunk_depth:
        # All that a ViT says of plain views lies in the cache; saying it anew, of eight views, would take hours.
        rows = torch.from_numpy(np.flatnonzero(known.parts.asked))
        return plain_attributes(net, build_features(recipe, known, log), rows), None
    asked = [image for image, wanted in zip(known.images, known.parts.asked, strict=True) if wanted]
    return _encoded(model, asked, work, 1), _encoded(model, asked, work, VIEWS_SHOWN)


def _train(recipe: Recipe, known: Knowledge, work: Path, log: Log) -> Dsva:
    net = build_network(recipe, len(known.attributes), known.embeddings.shape[1])
    features = build_features(recipe, known, log)
    kept_out = np.flatnonzero(known.parts.kept_out)[::WATCH_EVERY]

    def measure(trained: Dsva) -> str:
        scores = joint_scores(trained, features, torch.from_numpy(kept_out))
        right = class_accuracy(scores @ known.text.taught_rows.T, known.seen, known.concepts[kept_out])
        return f"kept-out images of seen concepts {right:.3f}"

    examples = TrainingSet(
        features, torch.from_numpy(np.flatnonzero(known.parts.train)), build_lesson(known, recipe.training.whitening)
    )
    train_network(
        net, examples, recipe.training, work,
        seed=recipe.seed, device=parse_device(recipe.training.device), measure=measure, log=log,
    )  # fmt: skip
    assert net.direct_head is not None
    pooled = pooled_features(net, features, examples.rows)
    fit_direct(net.direct_head, pooled, known.scores[known.parts.train], recipe.training.direct_ridge)
    return net


def _aligned(recipe: Recipe, known: Knowledge, net: Dsva, log: Log) -> AttributeText:
    """Decorrelate the trained network, and give the text side for it."""
    train, how = known.parts.train, recipe.alignment
    scores = joint_scores(net, build_features(recipe, known, log), torch.from_numpy(np.flatnonzero(train)))
    text = decorrelate(net, known.text, scores, how.shrinkage)
    return lean_on_network(net, text, scores, known.concept_ids(train), how.network_share)


def _encoded(model: Model, images: list[LabelledImage], work: Path, views: int) -> Floats:
    """Encode images as the user's tiles are, or read what was kept: attributes float32 (N, K), unit length."""
    file = work / f"said-{model.card.sha256[:16]}-{len(images)}-{views}.npy"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        np.save(file, encode_images(model, images, views))
    return np.asarray(np.load(file), dtype="float32")


def encode_images(model: Model, images: list[LabelledImage], views: int = 1, batch_size: int = 32) -> Floats:
    """Encode images as the user's tiles are, in so many views: attributes float32 (N, K), unit length."""
    encode, parts = many_views(model.encode, views), []
    for start in range(0, len(images), batch_size):
        shown = [plain_view(read_square(i.path), model.card.input_px) for i in images[start : start + batch_size]]
        parts.append(encode(np.stack([image.numpy() for image in shown])).attributes)
    return np.concatenate(parts)
