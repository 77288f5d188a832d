"""Published data sets known by name: one canonical name for each class, however its folder is spelt."""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from rszsl.errors import TrainingError
from rszsl.zsl.data.folders import PARTS, ImageSet, class_folders, image_files, read_table_rows
from rszsl.zsl.data.names import CLASSES_FILE, canonical_name, close_names
from rszsl.zsl.data.splits import USUAL_SPLITS


@dataclass(frozen=True, slots=True)
class Layout:
    """A published data set.

    Attributes:
        name: as in `--data`, "aid".
        title: as its authors write it.
        classes: canonical names, sorted.
        splits: usual numbers of (seen, unseen) classes.
    """

    name: str
    title: str
    classes: tuple[str, ...]
    splits: tuple[tuple[int, int], ...]


@cache
def layouts() -> dict[str, Layout]:
    """The sets that are known by name."""
    listed = tomllib.loads(CLASSES_FILE.read_text(encoding="utf-8"))["layouts"]
    return {
        name: Layout(name, entry["title"], tuple(sorted(entry["classes"])), USUAL_SPLITS.get(name, ()))
        for name, entry in listed.items()
    }


def find_layout(classes: Sequence[str]) -> Layout | None:
    """Recognise a set by its canonical class names; None where it is none of the known ones."""
    return next((known for known in layouts().values() if known.classes == tuple(sorted(set(classes)))), None)


def read_folder(root: Path, name: str | None = None) -> ImageSet:
    """List a folder of class folders: sorted folders, sorted files in each.

    Args:
        root: `root/<class>/<image>`, or one folder more between.
        name: of the layout that it must have ("aid"); None: recognised by its classes, else its folder's name.

    Raises:
        TrainingError: where it holds no images, two folders are one class, or it is not the named layout.
    """
    folders = class_folders(root)
    names = [canonical_name(folder.name) for folder in folders]
    for first, second in zip(*_order_by_name(names), strict=False):
        if names[first] == names[second]:
            raise TrainingError(f"{folders[first]} and {folders[second]} are both {names[first]!r}; merge them")
    _check_layout(root, names, name)
    found = find_layout(names)
    listed = [(file, label) for folder, label in zip(folders, names, strict=True) for file in image_files(folder)]
    paths, labels = zip(*listed, strict=True)
    return ImageSet(name or (found.name if found else root.name), root, paths, labels)


def read_table(file: Path) -> ImageSet:
    """List the images of a CSV `path,class[,set]`, in its order; paths are relative to the file's folder.

    Raises:
        TrainingError: where a row or an image is missing, twice there, or of an unknown part.
    """
    rows = read_table_rows(file)
    paths = tuple(file.parent / row["path"] for row in rows)
    if missing := [path for path in paths if not path.is_file()]:
        raise TrainingError(f"{file} names {len(missing)} images that are not there, the first is {missing[0]}")
    parts = tuple((row.get("set") or "").strip().lower() for row in rows)
    if any(parts) and (odd := sorted(set(parts) - set(PARTS))):
        raise TrainingError(f"{file}: `set` says {odd[0]!r}; it may be {' or '.join(PARTS)}, in every row or in none")
    labels = tuple(canonical_name(row["class"]) for row in rows)
    found = find_layout(labels)
    return ImageSet(found.name if found else file.stem, file.parent, paths, labels, parts if any(parts) else ())


def read_images(source: Path, name: str | None = None) -> ImageSet:
    """List a folder of class folders, or a CSV.

    Raises:
        TrainingError: see `read_folder` and `read_table`.
    """
    return read_table(source) if source.suffix.lower() == ".csv" else read_folder(source, name)


def _check_layout(root: Path, names: Sequence[str], wanted: str | None) -> None:
    if wanted is None:
        return
    if wanted not in layouts():
        raise TrainingError(f"no layout {wanted!r} is known; it may be {', '.join(sorted(layouts()))}")
    expected = layouts()[wanted].classes
    if missing := sorted(set(expected) - set(names)):
        extra = sorted(set(names) - set(expected))
        listed = ", ".join(f"{one}{close_names(one, extra)}" for one in missing)
        raise TrainingError(f"{root} is no {layouts()[wanted].title}: it lacks {listed}")
    if extra := sorted(set(names) - set(expected)):
        raise TrainingError(f"{root} is no {layouts()[wanted].title}: it has {', '.join(extra)} besides")


def _order_by_name(names: Sequence[str]) -> tuple[list[int], list[int]]:
    order = sorted(range(len(names)), key=lambda i: names[i])
    return order, order[1:]
