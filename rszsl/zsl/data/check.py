"""Images that cannot be read, and lists of images to leave out."""

import csv
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from rszsl.errors import TrainingError
from rszsl.zsl.data.folders import ImageSet

LEAVE_OUT_COLUMN = "leave_out"


@dataclass(frozen=True, slots=True)
class ImageCheck:
    """How many images were opened, and which cannot be read: (file under the root, what is wrong)."""

    images: int
    corrupt: tuple[tuple[str, str], ...]

    @property
    def files(self) -> tuple[str, ...]:
        """The files that cannot be read."""
        return tuple(file for file, _ in self.corrupt)

    def __str__(self) -> str:
        if not self.corrupt:
            return f"all {self.images} images can be read"
        listed = "; ".join(f"{file} ({reason})" for file, reason in self.corrupt)
        return f"{len(self.corrupt)} of {self.images} images cannot be read and are left out: {listed}"


def check_images(images: ImageSet) -> ImageCheck:
    """Open every image to its last pixel; `images.without(check.files)` are those that can be trained on."""
    return ImageCheck(len(images), tuple(_corrupt(images)))


def readable(images: ImageSet) -> tuple[ImageSet, ImageCheck]:
    """Leave out what cannot be read.

    Raises:
        TrainingError: where nothing of a class is left.
    """
    check = check_images(images)
    left = images.without(check.files)
    if gone := sorted(set(images.classes) - set(left.classes)):
        raise TrainingError(f"no image of the class {gone[0]!r} can be read; {check}")
    return left, check


def read_leave_out(file: Path) -> tuple[str, ...]:
    """Read which images to leave out: a CSV with a column `leave_out`, or one file under the root a line.

    Raises:
        TrainingError: where it cannot be read.
    """
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
        if lines and LEAVE_OUT_COLUMN in next(csv.reader(lines[:1])):
            listed = [row[LEAVE_OUT_COLUMN] or "" for row in csv.DictReader(lines)]
        else:
            listed = [line.strip() for line in lines]
    except (OSError, UnicodeDecodeError, csv.Error) as err:
        raise TrainingError(f"cannot read which images to leave out from {file}: {err}") from err
    return tuple(dict.fromkeys(Path(name).as_posix() for name in listed if name))


def leave_out(images: ImageSet, files: Collection[str]) -> ImageSet:
    """Leave out images, named by their files under the root.

    Raises:
        TrainingError: where none of them is in the set, or nothing of a class is left.
    """
    left = images.without(files)
    if files and len(left) == len(images):
        raise TrainingError(f"no image to leave out is in {images.root}; were they listed for another data set?")
    if gone := sorted(set(images.classes) - set(left.classes)):
        raise TrainingError(f"every image of the class {gone[0]!r} is to be left out; drop the class or keep some")
    return left


def _corrupt(images: ImageSet) -> Iterator[tuple[str, str]]:
    for path, file in zip(images.paths, images.files, strict=True):
        try:
            with Image.open(path) as opened:
                opened.convert("RGB")
        # Pillow raises SyntaxError for broken PNG chunks and its own bomb error for absurd sizes.
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as err:
            yield file, " ".join(str(err).replace(str(path), path.name).split()) or type(err).__name__
