"""Class splits by seed, and which images of them may be learnt from.

The convention of the published splits of small sets (ZS-ViDAT): the first `seen` of a list of classes shuffled by the
seed are seen, and 80 % of each seen class's images are trained on. Validation classes come out of the seen ones.
"""

import csv
import random
import tomllib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rszsl.errors import TrainingError
from rszsl.zsl.data.names import canonical_name, close_names

Indices = NDArray[np.int64]

USUAL_SPLITS = {
    "aid": ((25, 5), (20, 10), (15, 15), (10, 20)),
    "ucm": ((16, 5), (13, 8), (10, 11), (7, 14)),
    "rssdivcs": ((60, 10), (50, 20), (40, 30)),
    "whurs19": ((15, 4), (12, 7), (9, 10), (6, 13)),
    "nwpu": ((35, 10), (30, 15), (25, 20), (20, 25)),
}
"""(seen, unseen) classes, by the name of the layout."""
PARTS = ("seen", "validation", "unseen")
"""Of a split file."""
TRAIN_SHARE = 0.8
DEV_SHARE = 0.125
"""Of the training images: kept out while settings are chosen, as the seen side of that choice."""


@dataclass(frozen=True, slots=True)
class ClassSplit:
    """Class names by part, each sorted; `validation` are seen classes that play unseen while settings are chosen."""

    fit: tuple[str, ...]
    validation: tuple[str, ...]
    unseen: tuple[str, ...]

    def __post_init__(self) -> None:
        """Refuse a class that is in two parts."""
        twice = sorted(n for n, times in Counter([*self.fit, *self.validation, *self.unseen]).items() if times > 1)
        if twice:
            raise TrainingError(f"the class {twice[0]!r} is in two parts of the split, or twice in one; leave one out")
        if len(self.fit) < 2 or not self.unseen:
            raise TrainingError("a split needs two classes to learn from and an unseen one")

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

    def __post_init__(self) -> None:
        """Refuse an image that is in two parts."""
        every = np.concatenate([getattr(self, part.name) for part in fields(self)])
        ids, times = np.unique(every, return_counts=True)
        if (times > 1).any():
            raise TrainingError(f"image {ids[times > 1][0]} is in two parts of the split, or twice in one")

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


def read_split(file: Path, names: Sequence[str], seed: int = 0) -> ClassSplit:
    """Read a published class split: TOML with lists `seen`, `unseen` and perhaps `validation`, or a CSV `class,part`.

    Args:
        file: its class names may be spelt in any known way. Validation classes may stand among the seen ones too;
            where there are none, a quarter of the seen ones is drawn.
        names: canonical names of the classes that have images; those in no part are left out.
        seed: of that draw.

    Raises:
        TrainingError: where the file cannot be read, puts a class in two parts, or names one without images.
    """
    seen, validation, unseen = (tuple(map(canonical_name, listed)) for listed in _listed(file))
    if missing := sorted({*seen, *validation, *unseen} - set(names)):
        listed = ", ".join(f"{name!r}{close_names(name, names)}" for name in missing)
        raise TrainingError(f"{file} names classes that have no image: {listed}")
    if not validation:
        return draw_validation(seen, unseen, seed)
    fit = tuple(sorted(name for name in seen if name not in validation))
    return ClassSplit(fit, tuple(sorted(validation)), tuple(sorted(unseen)))


def draw_validation(seen: Sequence[str], unseen: Sequence[str], seed: int) -> ClassSplit:
    """Draw the validation classes of a split whose seen and unseen classes are given.

    Raises:
        TrainingError: where a class is in both, or too few are seen.
    """
    held = max(2, round(len(seen) / 4))
    if len(seen) - held < 2:
        raise TrainingError(f"{len(seen)} seen classes are too few to train on and to choose with; take more")
    order = sorted(seen)
    random.Random(seed).shuffle(order)
    return ClassSplit(tuple(sorted(order[held:])), tuple(sorted(order[:held])), tuple(sorted(unseen)))


def draw_images(labels: Sequence[str], split: ClassSplit, seed: int, parts: Sequence[str] = ()) -> ImageSplit:
    """Divide the images of a class split.

    Args:
        labels: the class of each image, in the order of the ids.
        split: the classes; images of other classes are in no part.
        seed: of the shuffle within each class.
        parts: of each image `train` or `test`, where the set was published divided; empty: `TRAIN_SHARE` is drawn.

    Raises:
        TrainingError: where a class of the split has no image, or too few to divide.
    """
    truth = np.asarray(labels)
    into: dict[str, list[Indices]] = {part: [] for part in ("fit", "dev", "validation", "seen_test", "unseen_test")}
    for name in (*split.fit, *split.validation, *split.unseen):
        ids = np.flatnonzero(truth == name).astype("int64")
        if len(ids) < (1 if name in split.unseen else 5):
            raise TrainingError(f"the class {name!r} has {len(ids)} images: a seen class needs 5, an unseen one 1")
        if name in split.unseen:
            into["unseen_test"].append(ids)
            continue
        ids, train = _train_first(ids, name, seed, parts)
        dev = max(1, round(train * DEV_SHARE)) if name in split.fit else 0
        into["seen_test"].append(ids[train:])
        into["dev"].append(ids[:dev])
        into["fit" if name in split.fit else "validation"].append(ids[dev:train])
    return ImageSplit(**{part: np.sort(np.concatenate(ids)) for part, ids in into.items()})


def _train_first(ids: Indices, name: str, seed: int, parts: Sequence[str]) -> tuple[Indices, int]:
    ids = np.random.default_rng([seed, *name.encode()]).permutation(ids)
    train = round(len(ids) * TRAIN_SHARE)
    if parts:
        ids = np.array(sorted(ids, key=lambda i: parts[i] == "test"), dtype="int64")
        train = sum(parts[i] != "test" for i in ids)
    if not 1 < train < len(ids):
        raise TrainingError(
            f"the class {name!r} has {train} images to train on and {len(ids) - train} to test; it needs 2 and 1"
        )
    return ids, train


def _listed(file: Path) -> tuple[list[str], list[str], list[str]]:
    try:
        text = file.read_text(encoding="utf-8-sig")
        if file.suffix.lower() == ".csv":
            rows = list(csv.DictReader(text.splitlines()))
            found = {part: [row["class"] for row in rows if row["part"].strip() == part] for part in PARTS}
            odd = sorted({row["part"].strip() for row in rows} - set(PARTS))
        else:
            found = dict(tomllib.loads(text))
            odd = sorted(set(found) - set(PARTS))
    except (OSError, ValueError, KeyError, AttributeError) as err:
        raise TrainingError(f"{file} is no class split ({err}); it may be TOML, or a CSV `class,part`") from err
    if odd or not found.get("seen") or not found.get("unseen"):
        said = f"says {odd[0]!r}" if odd else "lists too little"
        raise TrainingError(f"{file} {said}; a class split has the parts {', '.join(PARTS)}")
    return found["seen"], found.get("validation", []), found["unseen"]
