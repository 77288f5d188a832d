"""Labelled images from class folders or from a table, in a fixed order."""

import csv
import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from rszsl.errors import TrainingError
from rszsl.zsl.data.hashes import sha256_of_listing

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".tif", ".webp"})
PARTS = ("train", "test")
"""What the third column of a table may say."""


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images and their classes; row i of every array that is made from them is image i.

    Attributes:
        name: of the layout where it is known ("aid"), else of the folder or table.
        root: the folder that `paths` are under.
        paths: N files.
        labels: N canonical class names.
        parts: N times `train` or `test` where the set was published divided; else empty.
    """

    name: str
    root: Path
    paths: tuple[Path, ...]
    labels: tuple[str, ...]
    parts: tuple[str, ...] = ()

    def __len__(self) -> int:
        """N."""
        return len(self.paths)

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes that have an image, sorted."""
        return tuple(sorted(set(self.labels)))

    @property
    def files(self) -> tuple[str, ...]:
        """Paths under the root, with forward slashes."""
        return tuple(path.relative_to(self.root).as_posix() for path in self.paths)

    @cached_property
    def sha256(self) -> str:
        """Hash of every name and content, in order; computed once."""
        return sha256_of_listing(self.paths, self.root)

    def take(self, ids: Sequence[int]) -> "ImageSet":
        """Give the images of some ids, in that order."""
        paths, labels = tuple(self.paths[i] for i in ids), tuple(self.labels[i] for i in ids)
        return replace(self, paths=paths, labels=labels, parts=tuple(self.parts[i] for i in ids if self.parts))

    def without(self, files: Collection[str]) -> "ImageSet":
        """Leave images out, named as in `files`; names of other sets' images are no error."""
        out = frozenset(files)
        return self.take([i for i, file in enumerate(self.files) if file not in out])


def data_root() -> Path:
    """The folder of data sets: `$RSZSL_DATA`, else `../shared/data` beside the checkout.

    Raises:
        TrainingError: where neither is a folder.
    """
    given = os.environ.get("RSZSL_DATA")
    root = Path(given) if given else Path(__file__).resolve().parents[4] / "shared" / "data"
    if not root.is_dir():
        raise TrainingError(f"no training data at {root}; set RSZSL_DATA to the folder that holds aid/, ucm/, …")
    return root


def class_folders(root: Path) -> list[Path]:
    """List the class folders of a set, sorted; a single folder that holds them all (`Images/`) is stepped into.

    Raises:
        TrainingError: where there are none.
    """
    folders = _subfolders(root)
    if len(folders) == 1 and (deeper := _subfolders(folders[0])):
        folders = deeper
    if not folders:
        raise TrainingError(f"{root} holds no class folders; name a folder that holds one folder of images a class")
    return folders


def image_files(folder: Path) -> list[Path]:
    """List the images of a class folder, sorted.

    Raises:
        TrainingError: where there are none.
    """
    files = sorted(p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith("."))
    if not files:
        raise TrainingError(
            f"{folder} holds no images ({', '.join(sorted(IMAGE_SUFFIXES))}); put some in, or take the folder away"
        )
    return files


def read_table_rows(file: Path) -> list[dict[str, str]]:
    """Read a CSV of images: the columns `path`, `class` and, where wanted, `set`.

    Raises:
        TrainingError: where it cannot be read, lacks a column, or names an image twice.
    """
    try:
        with file.open(newline="", encoding="utf-8-sig") as opened:
            rows = list(csv.DictReader(opened))
    except (OSError, UnicodeDecodeError, csv.Error) as err:
        raise TrainingError(f"cannot read the table of images {file}: {err}") from err
    if not rows or not {"path", "class"} <= set(rows[0]):
        raise TrainingError(f"{file} is no table of images: it needs a header `path,class[,set]` and rows")
    seen: dict[str, dict[str, str]] = {}
    for line, row in enumerate(rows, start=2):
        if not row["path"] or not row["class"]:
            raise TrainingError(f"{file}, line {line}: a row needs a path and a class")
        if (first := seen.setdefault(Path(row["path"]).as_posix(), row)) is not row:
            where = " and ".join(sorted({part for part in (first.get("set"), row.get("set")) if part}))
            raise TrainingError(f"{file}, line {line}: {row['path']} is listed twice{where and f' ({where})'}")
    return rows


def _subfolders(root: Path) -> list[Path]:
    if not root.is_dir():
        return []
    return sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith((".", "__")))
