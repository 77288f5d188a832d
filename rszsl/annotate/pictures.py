"""Pictures in a folder a class, and which of them are looked at."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rszsl.errors import AnnotationError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".bmp"})


@dataclass(frozen=True, slots=True)
class Pictures:
    """The pictures of C classes.

    Attributes:
        classes: names of the folders, sorted.
        files: for each class, its pictures that are looked at, sorted.
    """

    classes: tuple[str, ...]
    files: tuple[tuple[Path, ...], ...]

    @property
    def every(self) -> list[Path]:
        """All of them, class by class."""
        return [file for files in self.files for file in files]

    @property
    def labels(self) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
        """int64 (N,), the class of each of `every`."""
        return np.repeat(np.arange(len(self.classes)), [len(files) for files in self.files])


def find_pictures(folder: Path, *, per_class: int | None, seed: int, without: frozenset[str] = frozenset()) -> Pictures:
    """List the pictures of a folder with a folder a class.

    Args:
        folder: its folders are the classes.
        per_class: how many to draw of each class; None takes all.
        seed: of the draw; each class is drawn for itself, so that another class changes nothing.
        without: classes whose pictures are not to be looked at.

    Raises:
        AnnotationError: where there is no class, or one without enough pictures.
    """
    if not folder.is_dir():
        raise AnnotationError(f"no folder {folder}; give one with a folder of pictures for each class")
    classes = tuple(sorted(item.name for item in folder.iterdir() if item.is_dir() and not item.name.startswith(".")))
    if not classes:
        raise AnnotationError(f"{folder} has no folders; give one with a folder of pictures for each class")
    files = [() if name in without else _draw(folder / name, per_class, seed) for name in classes]
    return Pictures(classes, tuple(files))


def _draw(folder: Path, count: int | None, seed: int) -> tuple[Path, ...]:
    found = sorted(file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES)
    if not found or len(found) < (count or 0):
        wanted = f"{count} were asked for" if count else "give some, or take its row from text (--text-rows)"
        raise AnnotationError(f"{folder} has {len(found)} pictures; {wanted}")
    if count is None:
        return tuple(found)
    drawn = np.random.default_rng([seed, *folder.name.encode()]).choice(len(found), count, replace=False)
    return tuple(found[i] for i in sorted(drawn.tolist()))
