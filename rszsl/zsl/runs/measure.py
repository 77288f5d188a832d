"""How well any model does on labelled images."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rszsl.classes import ClassName
from rszsl.errors import TrainingError
from rszsl.labels.calibrate import score
from rszsl.model.bundle import Model
from rszsl.model.checkpoint import load_model
from rszsl.zsl.data.check import readable
from rszsl.zsl.data.folders import ImageSet
from rszsl.zsl.data.layouts import read_images
from rszsl.zsl.data.names import canonical_name, close_names
from rszsl.zsl.metrics import auroc, mean_by_class
from rszsl.zsl.towers.images import read_rgb

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """A model on labelled images.

    Attributes:
        model: its name.
        images: what it was shown.
        classes: C names, in the order of the columns.
        truth: int64 (N,), column of each image's class.
        chosen: int64 (N,), column of the class with the largest similarity.
        confidence: float32 (N, C), presence probability of each class.
        attributes: float32 (N, K), unit rows.
        rows: float32 (C, K), unit rows of the classes.
    """

    model: Model
    images: ImageSet
    classes: tuple[str, ...]
    truth: NDArray[np.int64]
    chosen: NDArray[np.int64]
    confidence: Floats
    attributes: Floats
    rows: Floats

    @property
    def accuracy(self) -> float:
        """Mean over the classes of top-1 accuracy."""
        return mean_by_class(self.chosen == self.truth, self.truth)

    @property
    def by_class(self) -> dict[str, float]:
        """Accuracy of each class."""
        right = self.chosen == self.truth
        return {name: float(right[self.truth == c].mean()) for c, name in enumerate(self.classes)}

    @property
    def presence_auroc(self) -> float:
        """Mean over the classes: how well the presence probability tells a class's images from the others."""
        return float(np.mean([auroc(self.confidence[:, c], self.truth == c) for c in range(len(self.classes))]))

    @property
    def confusion(self) -> NDArray[np.int64]:
        """Images of the true class (row) that were called the class of the column: int64 (C, C)."""
        counts = np.zeros((len(self.classes), len(self.classes)), dtype="int64")
        np.add.at(counts, (self.truth, self.chosen), 1)
        return counts

    def to_json(self) -> dict[str, Any]:
        """Give the figures as JSON values."""
        return {
            "model": f"{self.model.card.name} {self.model.card.version}",
            "model_sha256": self.model.card.sha256,
            "data": self.images.name,
            "data_sha256": self.images.sha256,
            "images": len(self.truth),
            "accuracy": self.accuracy,
            "chance": 1 / len(self.classes),
            "presence_auroc": self.presence_auroc,
            "by_class": self.by_class,
        }


def measure(
    source: Path,
    model: str,
    classes: Sequence[str] | None = None,
    *,
    device: str = "auto",
    trust_pickle: bool = False,
    batch_size: int = 32,
) -> Measured:
    """Show labelled images to a model and ask it which of their classes each one is.

    Args:
        source: folder of class folders, or CSV.
        model: as in `--model`.
        classes: only images of these, which are also the only answers; None: all.
        device: as in `--device`.
        trust_pickle: as in `--trust-pickle`.
        batch_size: images at once.

    Raises:
        TrainingError: where a class has no image, or nothing can be read.
        ModelError, ClassListError: where the model cannot be loaded or cannot read a name.
    """
    images, _ = readable(read_images(source))
    names = tuple(canonical_name(name) for name in classes) if classes else images.classes
    if missing := [name for name in names if name not in images.classes]:
        raise TrainingError(f"{source} has no image of {missing[0]!r}{close_names(missing[0], images.classes)}")
    images = images.take([i for i, label in enumerate(images.labels) if label in names])
    loaded = load_model(model, device=device, trust_pickle=trust_pickle)
    rows = loaded.class_rows([ClassName(name) for name in names]).rows
    attributes = encode_images(loaded, images.paths, batch_size)
    scores = score(attributes, rows, loaded.background_rows, loaded.calibrator)
    truth = np.array([names.index(label) for label in images.labels])
    return Measured(loaded, images, names, truth, scores.similarity.argmax(1), scores.confidence, attributes, rows)


def encode_images(model: Model, paths: Sequence[Path], batch_size: int) -> Floats:
    """Encode image files as the model's own processor wants them: attributes float32 (N, K), unit length."""
    parts = [
        model.encode_images([np.array(read_rgb(path)) for path in paths[start : start + batch_size]]).attributes
        for start in range(0, len(paths), batch_size)
    ]
    return np.concatenate(parts)


def write_json(found: Measured, file: Path) -> None:
    """Write the figures."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(found.to_json(), indent=1) + "\n", encoding="utf-8")
