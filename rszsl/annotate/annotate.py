"""From pictures, a vocabulary and a model to a class-attribute matrix with its report."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from rszsl.annotate.human import read_human
from rszsl.annotate.matrix import (
    CLIP_TEMPERATURE,
    Normalise,
    centred,
    class_rows,
    normalised,
    scores_of,
)
from rszsl.annotate.pictures import Pictures, find_pictures
from rszsl.annotate.quality import agreement, separability, variance_between
from rszsl.annotate.vocabulary import Attribute
from rszsl.classes import ClassName, spoken
from rszsl.errors import AnnotationError, OptionError
from rszsl.model.bundle import Model
from rszsl.model.preprocess import read_image

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnotateOptions:
    """What a user can choose.

    Attributes:
        per_class: pictures to draw of each class; None takes all.
        seed: of that draw, and of the shuffled controls.
        text_rows: classes whose row comes from their name alone; no picture of them is looked at.
        text_only: whether that is so for all.
        names: words for a class, where its folder is no word.
        temperature: similarities are divided by it.
        centre: `all` takes off each attribute's mean over classes, `seen` that over the classes that are not in
            `text_rows`, `none` nothing.
        normalise: `l2`, `zscore` or `none`.
        batch_size: pictures that the model sees at once.
        human: a human table to compare with, or None.
    """

    per_class: int | None = None
    seed: int = 0
    text_rows: tuple[str, ...] = ()
    text_only: bool = False
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    temperature: float = CLIP_TEMPERATURE
    centre: Literal["all", "seen", "none"] = "all"
    normalise: Normalise = "l2"
    batch_size: int = 32
    human: Path | None = None

    def __post_init__(self) -> None:
        if self.temperature <= 0:
            raise OptionError(f"--temperature {self.temperature} must be above 0")
        if self.batch_size < 1 or (self.per_class is not None and self.per_class < 1):
            raise OptionError("--batch-size and --images-per-class must be at least 1")


@dataclass(frozen=True, slots=True, eq=False)
class Annotation:
    """A class-attribute matrix and how it came about.

    Attributes:
        classes: C names.
        attributes: A attributes.
        rows: float32 (C, A), the matrix.
        sources: for each class, `images` or `text`.
        pictures: what was looked at.
        report: quality and provenance, as JSON.
    """

    classes: tuple[str, ...]
    attributes: tuple[Attribute, ...]
    rows: Floats
    sources: tuple[str, ...]
    pictures: Pictures
    report: dict[str, Any]


def annotate(
    folder: Path,
    attributes: Sequence[Attribute],
    model: Model,
    options: AnnotateOptions,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Annotation:
    """Describe the classes of a folder by attributes.

    Args:
        folder: of pictures, a folder a class.
        attributes: the vocabulary.
        model: compares pictures with texts.
        options: as the user chose.
        progress: hears how many of how many pictures are done.

    Raises:
        AnnotationError: where folder, classes or human table are unusable.
    """
    pictures = find_pictures(folder, per_class=options.per_class, seed=options.seed, without=_without(folder, options))
    classes = pictures.classes
    by_text = np.array([not files for files in pictures.files])
    meant = model.class_rows([item.as_class for item in attributes])
    scores = scores_of(_look(pictures, model, options.batch_size, progress), meant.rows, options.temperature)
    raw, warnings = class_rows(scores, pictures.labels, len(classes)), meant.warnings
    if by_text.any():
        named = model.class_rows([_as_class(n, options) for n, text in zip(classes, by_text, strict=True) if text])
        raw[by_text] = scores_of(named.rows, meant.rows, options.temperature)
        warnings += named.warnings
    over = ~by_text if options.centre == "seen" else np.ones(len(classes), dtype=bool)
    rows = normalised(raw if options.centre == "none" else centred(raw, over, by_text), options.normalise)
    report = _provenance(model, options, by_text, warnings)
    report["quality"] = _quality(rows, scores, pictures, attributes, options)
    sources = tuple("text" if text else "images" for text in by_text)
    return Annotation(classes, tuple(attributes), rows, sources, pictures, report)


def _as_class(folder: str, options: AnnotateOptions) -> ClassName:
    words = options.names.get(folder) or (spoken(folder),)
    return ClassName(words[0], words[1:])


def _without(folder: Path, options: AnnotateOptions) -> frozenset[str]:
    here = {item.name for item in folder.iterdir() if item.is_dir()} if folder.is_dir() else set()
    if strange := sorted(set(options.text_rows) - here):
        raise AnnotationError(
            f'--text-rows "{strange[0]}" is no folder of {folder}; it has {", ".join(sorted(here)[:5])}, …'
        )
    return frozenset(here) if options.text_only else frozenset(options.text_rows)


def _look(pictures: Pictures, model: Model, batch_size: int, progress: Callable[[int, int], None]) -> Floats:
    """What the pictures show: float32 (N, K)."""
    files, parts = pictures.every, []
    for start in range(0, len(files), batch_size):
        images = [read_image(file) for file in files[start : start + batch_size]]
        parts.append(model.encode_images(images).attributes)
        progress(start + len(images), len(files))
    return np.concatenate(parts) if parts else np.zeros((0, model.background_rows.shape[1]), dtype="float32")


def _provenance(
    model: Model, options: AnnotateOptions, by_text: NDArray[np.bool_], warnings: tuple[str, ...]
) -> dict[str, Any]:
    return {
        "provider": "image-text similarity",
        "model": model.card.name,
        "model_sha256": model.card.sha256,
        "images_per_class": "all" if options.per_class is None else options.per_class,
        "classes_from_text": int(by_text.sum()),
        "temperature": options.temperature,
        "centre": options.centre,
        "normalise": options.normalise,
        "seed": options.seed,
        "warnings": list(dict.fromkeys(warnings)),
    }


def _quality(
    rows: Floats, scores: Floats, pictures: Pictures, attributes: Sequence[Attribute], options: AnnotateOptions
) -> dict[str, Any]:
    found: dict[str, Any] = {"classes": len(rows), "attributes": len(attributes), "images": len(scores)}
    spread = rows.std(axis=0)
    found["spread_over_classes"] = {item.name: round(float(s), 5) for item, s in zip(attributes, spread, strict=True)}
    labels = pictures.labels
    if len(np.unique(labels)) > 1 and np.bincount(labels).max() > 1:
        shares = variance_between(scores, labels)
        found["separability"] = round(separability(scores, labels), 4)
        found["separability_by_chance"] = round(1 / len(np.unique(labels)), 4)
        found["variance_between_classes"] = {
            item.name: round(float(s), 4) for item, s in zip(attributes, shares, strict=True)
        }
    if options.human is not None:
        human = read_human(options.human, pictures.classes, attributes)
        told = agreement(rows, human, [item.family for item in attributes], options.seed)
        told["attributes"] = {attributes[a].name: value for a, value in told.get("attributes", [])}
        found["human"] = {"table": options.human.name, **told}
    return found
