"""Which concepts one training does not see: none for the shipped model, some for each one that is measured."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rszsl.errors import TrainingError
from rszsl.training.data import LabelledImage

Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Fold:
    """One training of the recipe's network.

    Attributes:
        name: of its folder under the recipe's `work`.
        sets: image sets that it is trained on.
        unseen: concepts whose images, names in captions and rows it is never shown, sorted.
        asked: the set among whose images the unseen concepts are then looked for; empty where there are none.
    """

    name: str
    sets: tuple[str, ...]
    unseen: tuple[str, ...]
    asked: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """What a fold does with each of N images; bool (N,), no image is in two.

    Attributes:
        train: learnt from.
        kept_out: of seen concepts, never learnt from.
        unseen: of the unseen concepts in the set that is asked.
        foreign: of concepts that were taught, in sets that were not learnt from at all.
    """

    train: Flags
    kept_out: Flags
    unseen: Flags
    foreign: Flags

    @property
    def asked(self) -> Flags:
        """All that are asked of the model; it learns from none of them."""
        return np.asarray(self.kept_out | self.unseen | self.foreign)


def part_images(
    fold: Fold, images: Sequence[LabelledImage], concepts: NDArray[np.str_], keep_out: float, seed: int
) -> Parts:
    """Say what a fold does with each image.

    Args:
        fold: the training.
        images: N images of all sets.
        concepts: (N,), the concept of each.
        keep_out: share of the seen images that are not learnt from.
        seed: draws them.

    Raises:
        TrainingError: where an unseen concept has no image in the set that is asked.
    """
    sets = np.array([image.set_name for image in images])
    hidden = np.isin(concepts, fold.unseen)
    unseen = hidden & (sets == fold.asked)
    if fold.asked and (missing := sorted(set(fold.unseen) - set(concepts[unseen].tolist()))):
        raise TrainingError(f"the fold {fold.name} asks for {missing[0]!r}, of which {fold.asked} has no image")
    used = np.isin(sets, fold.sets) & ~hidden
    kept_out = used & holdout_mask(images, keep_out, seed)
    foreign = ~np.isin(sets, fold.sets) & np.isin(concepts, np.unique(concepts[used]))
    return Parts(used & ~kept_out, kept_out, unseen, foreign)


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


def holdout_mask(images: Sequence[LabelledImage], share: float, seed: int) -> Flags:
    """Mark about `share` of the images, by a hash of the path: the same ones whatever else is listed."""
    keys = [f"{seed}/{i.set_name}/{i.path.parent.name}/{i.path.name}" for i in images]
    return np.array([random.Random(key).random() for key in keys]) < share
