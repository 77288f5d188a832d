"""The images that the bundled model is trained on: `root/<set>/<class>/<image>`, listed in a fixed order."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from rszsl.zsl.data.folders import class_folders, image_files
from rszsl.zsl.data.names import plain_name


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """One image file and its class; `name` is the class in plain words ("storage tanks")."""

    path: Path
    set_name: str
    name: str


def list_images(root: Path, sets: Iterable[str]) -> list[LabelledImage]:
    """List every image of the named sets, classes interleaved so that any prefix is balanced.

    Raises:
        TrainingError: where a set has no folder or no image.
    """
    by_class = [
        [LabelledImage(file, set_name, plain_name(folder.name)) for file in image_files(folder)]
        for set_name in sets
        for folder in class_folders(root / set_name)
    ]
    return [image for row in zip_longest(*by_class) for image in row if image is not None]
