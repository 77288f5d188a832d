"""Class splits by seed, and which images of them may be learnt from.

The convention of the published splits of small sets (ZS-ViDAT): the first `seen` of a list of classes shuffled by the
seed are seen, and 80 % of each seen class's images are trained on. Validation classes come out of the seen ones.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rszsl.errors import TrainingError

Indices = NDArray[np.int64]

USUAL_SPLITS = {
    "aid": ((25, 5), (20, 10), (15, 15), (10, 20)),
    "ucm": ((16, 5), (13, 8), (10, 11), (7, 14)),
    "rssdivcs": ((60, 10), (50, 20), (40, 30)),
    "whurs19": ((15, 4), (12, 7), (9, 10), (6, 13)),
    "nwpu": ((35, 10), (30, 15), (25, 20), (20, 25)),
}
"""(seen, unseen) classes, by the name of the layout."""
TRAIN_SHARE = 0.8
DEV_SHARE = 0.125
"""Of the training images: kept out while settings are chosen, as the seen side of that choice."""


@dataclass(frozen=True, slots=True)
class ClassSplit:
    """Class names by part, each sorted; `validation` are seen classes that play unseen while settings are chosen."""

    fit: tuple[str, ...]
    validation: tuple[str, ...]
    unseen: tuple[str, ...]

    @property
    def seen(self) -> tuple[str, ...]:
        """All classes whose images are trained on in the end."""
        return tuple(sorted(self.fit + self.validation))


@dataclass(frozen=True, slots=True, eq=False)
class ImageSplit:
    """Image ids by part; no image is in two.

    Attributes:
        fit: of `ClassSplit.fit`, to learn from while settings are chosen.
        dev: of `ClassSplit.fit`, kept out of that.
        validation: of `ClassSplit.validation`; they join fit and dev for the final training.
        seen_test: of all seen classes; never trained on.
        unseen_test: every image of the unseen classes.
    """

    fit: Indices
    dev: Indices
    validation: Indices
    seen_test: Indices
    unseen_test: Indices

    @property
    def train(self) -> Indices:
        """Everything that the final training may use, sorted."""
        return np.sort(np.concatenate([self.fit, self.dev, self.validation]))


def draw_classes(names: Sequence[str], seen: int, unseen: int, seed: int) -> ClassSplit:
    """Draw a class split.

    Args:
        names: all classes.
        seen: how many are seen; a quarter of them, two at least, are its validation classes.
        unseen: how many are not.
        seed: of the shuffle.

    Raises:
        TrainingError: where the numbers do not add up to the classes, or leave too few.
    """
    if seen + unseen != len(set(names)) or len(set(names)) != len(names):
        raise TrainingError(
            f"a split {seen}/{unseen} needs {seen + unseen} different classes, there are {len(set(names))}"
        )
    held = max(2, round(seen / 4))
    if unseen < 1 or seen - held < 2:
        raise TrainingError(f"a split {seen}/{unseen} leaves too few classes to train on; take more seen classes")
    order = sorted(names)
    random.Random(seed).shuffle(order)
    return ClassSplit(
        fit=tuple(sorted(order[held:seen])), validation=tuple(sorted(order[:held])), unseen=tuple(sorted(order[seen:]))
    )


def draw_images(labels: Sequence[str], split: ClassSplit, seed: int) -> ImageSplit:
    """Divide the images of a class split.

    Args:
        labels: the class of each image, in the order of the ids.
        split: the classes.
        seed: of the shuffle within each class.

    Raises:
        TrainingError: where a class of the split has no image, or too few to divide.
    """
    truth = np.asarray(labels)
    parts: dict[str, list[Indices]] = {part: [] for part in ("fit", "dev", "validation", "seen_test", "unseen_test")}
    for name in (*split.fit, *split.validation, *split.unseen):
        ids = np.flatnonzero(truth == name).astype("int64")
        if len(ids) < (1 if name in split.unseen else 5):
            raise TrainingError(f"the class {name!r} has {len(ids)} images: a seen class needs 5, an unseen one 1")
        if name in split.unseen:
            parts["unseen_test"].append(ids)
            continue
        ids = np.random.default_rng([seed, *name.encode()]).permutation(ids)
        train = round(len(ids) * TRAIN_SHARE)
        dev = max(1, round(train * DEV_SHARE)) if name in split.fit else 0
        parts["seen_test"].append(ids[train:])
        parts["dev"].append(ids[:dev])
        parts["fit" if name in split.fit else "validation"].append(ids[dev:train])
    return ImageSplit(**{part: np.sort(np.concatenate(ids)) for part, ids in parts.items()})
