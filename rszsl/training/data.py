"""Labelled image folders: `root/<set>/<class>/<image>`, listed in a fixed order."""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from rszsl.errors import TrainingError

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".tif", ".webp"})


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """One image file and its class; `name` is the class in plain words ("storage tanks")."""

    path: Path
    set_name: str
    name: str


def data_root() -> Path:
    """The folder of training images: `$RSZSL_DATA`, else `../shared/data` beside the checkout.

    Raises:
        TrainingError: where neither is a folder.
    """
    given = os.environ.get("RSZSL_DATA")
    root = Path(given) if given else Path(__file__).resolve().parents[3] / "shared" / "data"
    if not root.is_dir():
        raise TrainingError(f"no training data at {root}; set RSZSL_DATA to the folder that holds aid/, ucm/, …")
    return root


def plain_name(folder: str) -> str:
    """Turn a folder name into words: `DenseResidential` -> "dense residential".

    A folder that is not CamelCase is only lower-cased, with underscores as spaces.
    """
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", folder).replace("_", " ")
    return words.lower().strip()


def list_images(root: Path, sets: Iterable[str]) -> list[LabelledImage]:
    """List every image of the named sets, classes interleaved so that any prefix is balanced.

    Raises:
        TrainingError: where a set has no folder or no image.
    """
    by_class: list[list[LabelledImage]] = []
    for set_name in sets:
        folders = sorted(p for p in (root / set_name).glob("*") if p.is_dir())
        if not folders:
            raise TrainingError(f"{root / set_name} holds no class folders")
        for folder in folders:
            files = sorted(p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
            if not files:
                raise TrainingError(f"{folder} holds no images ({', '.join(sorted(IMAGE_SUFFIXES))})")
            by_class.append([LabelledImage(p, set_name, plain_name(folder.name)) for p in files])
    return [image for row in zip_longest(*by_class) for image in row if image is not None]
