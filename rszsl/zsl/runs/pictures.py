"""Every picture of a model on labelled images, and of how it was trained."""

import csv
import json
import re
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from rszsl.model.preprocess import fit_images, normalise
from rszsl.model.trained import TrainedModel
from rszsl.zsl.figures.classes import draw_class_accuracy, draw_class_rows, draw_confusion
from rszsl.zsl.figures.curves import draw_calibration, draw_training
from rszsl.zsl.figures.images import draw_attention, draw_plane, place_points
from rszsl.zsl.problem import ClassTable
from rszsl.zsl.runs.measure import Measured
from rszsl.zsl.towers.images import read_rgb

PLANE_IMAGES = 40
"""Of each class in the plane."""
ATTENTION_MAPS = 7

Floats = NDArray[np.float32]


def draw_all(found: Measured, folder: Path) -> list[Path]:
    """Draw confusion, accuracy by class, class rows, the plane, and for a trained model attention and training.

    Args:
        found: a model on labelled images.
        folder: takes the PNGs.
    """
    folder.mkdir(parents=True, exist_ok=True)
    unseen = tuple(found.model.card.raw.get("training", {}).get("unseen", ()))
    title = f"{found.model.card.name} on {found.images.name}"
    drawn = [
        draw_confusion(found.confusion, found.classes, folder / "confusion.png", unseen=unseen, title=title),
        draw_class_accuracy(
            np.array(list(found.by_class.values())), found.classes, folder / "accuracy.png", unseen=unseen, title=title
        ),
        _plane(found, folder / "plane.png", unseen),
    ]
    if found.model.attribute_names:
        table = ClassTable(found.classes, found.rows, found.model.attribute_names)
        drawn.append(draw_class_rows(table, folder / "rows.png"))
    if isinstance(found.model, TrainedModel):
        drawn += _attention(found, found.model, folder)
        drawn += _history(found.model.card.path.parent, folder)
    return drawn


def _plane(found: Measured, path: Path, unseen: tuple[str, ...]) -> Path:
    ids = np.concatenate([np.flatnonzero(found.truth == c)[:PLANE_IMAGES] for c in range(len(found.classes))])
    points = place_points(np.concatenate([found.attributes[ids], found.rows]))
    labels = [found.classes[c] for c in found.truth[ids]]
    return draw_plane(points[: len(ids)], labels, path, rows=points[len(ids) :], row_names=found.classes, unseen=unseen)


def _attention(found: Measured, model: TrainedModel, folder: Path) -> list[Path]:
    """Draw, for the first image of each class, where its loudest attributes are seen."""
    drawn = []
    for c, name in enumerate(found.classes):
        first = int(np.flatnonzero(found.truth == c)[0])
        pixels = fit_images([np.array(read_rgb(found.images.paths[first]))], model.preprocess, model.torch_device)
        with torch.inference_mode():
            tokens = model.tower.tokens(normalise(pixels, model.preprocess), aligned=model.heads.centred)
            maps = model.heads(tokens).maps[0].float().cpu().numpy()
        shares = found.attributes[first] * found.rows[c]
        loudest = np.argsort(-shares)[:ATTENTION_MAPS]
        shown = Image.fromarray((pixels[0].permute(1, 2, 0).cpu().numpy() * 255).round().astype("uint8"))
        file = folder / f"attention_{re.sub('[^0-9A-Za-z-]+', '_', name)}.png"
        names = [model.attribute_names[k] for k in loudest]
        drawn.append(draw_attention(shown, maps[loudest], names, file, scores=shares[loudest].tolist(), title=name))
    return drawn


def _history(model: Path, folder: Path) -> list[Path]:
    """Draw the calibrated stacking and the epochs of the training that made a model."""
    result = json.loads((model / "result.json").read_text(encoding="utf-8"))
    gammas, unseen, seen = np.array(result["curve"]).T
    drawn = [draw_calibration(gammas, seen, unseen, folder / "calibration.png", chosen=result["gamma"])]
    with (model / "epochs.csv").open(newline="", encoding="utf-8") as opened:
        lines = [row for row in csv.DictReader(opened) if row.get("loss")]
    epochs = [float(row["epoch"]) for row in lines]
    told = {"Loss": {"loss": np.array([float(row["loss"]) for row in lines])}}
    told["Accuracy among validation classes"] = {
        key.removeprefix("validation_"): np.array([float(row[key]) for row in lines])
        for key in ("validation_global", "validation_local", "validation_both")
    }
    return [*drawn, draw_training(epochs, told, folder / "training.png", chosen=result["epoch"])]
