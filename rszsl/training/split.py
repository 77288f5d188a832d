"""Which concepts are trained on: a split by seed over concepts, not over folders."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rszsl.errors import TrainingError
from rszsl.training.data import LabelledImage


@dataclass(frozen=True, slots=True)
class Split:
    """The concepts' names by part, each sorted; no concept is in two parts."""

    seen: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]


def draw_split(concepts: Sequence[str], everyday: Sequence[str], *, test: int, validation: int, seed: int) -> Split:
    """Draw the unseen concepts among those that are not everyday names.

    Raises:
        TrainingError: where there are too few concepts, or an everyday name is no concept.
    """
    unknown = sorted(set(everyday) - set(concepts))
    if unknown:
        raise TrainingError(f"[split] everyday names no concept: {', '.join(unknown)}")
    drawable = sorted(set(concepts) - set(everyday))
    if test + validation > len(drawable):
        raise TrainingError(f"[split] wants {test + validation} unseen concepts of only {len(drawable)}")
    random.Random(seed).shuffle(drawable)
    unseen = set(drawable[: test + validation])
    return Split(
        seen=tuple(sorted(set(concepts) - unseen)),
        validation=tuple(sorted(drawable[test : test + validation])),
        test=tuple(sorted(drawable[:test])),
    )


def concept_of_images(images: Sequence[LabelledImage], concepts: Mapping[str, Sequence[str]]) -> list[str]:
    """Name each image's concept by its folder, `set/Folder`.

    Raises:
        TrainingError: where a folder belongs to no concept.
    """
    by_folder = {folder: concept for concept, folders in concepts.items() for folder in folders}
    names = [f"{image.set_name}/{image.path.parent.name}" for image in images]
    missing = sorted(set(names) - set(by_folder))
    if missing:
        raise TrainingError(f"[concepts] places no folder {', '.join(missing)}; add it to a concept")
    return [by_folder[name] for name in names]


def holdout_mask(images: Sequence[LabelledImage], share: float, seed: int) -> NDArray[np.bool_]:
    """Mark about `share` of the images, by a hash of the path: the same ones whatever else is listed."""
    keys = [f"{seed}/{i.set_name}/{i.path.parent.name}/{i.path.name}" for i in images]
    draws = np.array([random.Random(key).random() for key in keys])
    return np.asarray(draws < share)
