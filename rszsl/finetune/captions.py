"""Pictures with captions, from the layouts in which they are published."""

import csv
import io
import json
import tarfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from rszsl.errors import TrainingError
from rszsl.model.preprocess import Bytes, read_image

SPLITS = ("train", "val", "test")
PATH_COLUMNS = ("filepath", "filename", "image", "path")
CAPTION_COLUMNS = ("title", "caption", "text")
PICTURES = frozenset({"jpg", "jpeg", "png", "webp", "tif", "tiff"})
UCM_PER_CLASS = 100


@dataclass(frozen=True, slots=True)
class Captioned:
    """A picture with its captions.

    Attributes:
        file: the picture, or the tar file that holds it.
        captions: at least one.
        label: its class, or "".
        offset: where its bytes begin in a tar file, or -1.
        size: how many they are.
    """

    file: Path
    captions: tuple[str, ...]
    label: str = ""
    offset: int = -1
    size: int = 0

    def pixels(self) -> Bytes:
        """Read the picture: uint8 (H, W, 3), RGB."""
        if self.offset < 0:
            return read_image(self.file)
        with self.file.open("rb") as opened:
            opened.seek(self.offset)
            raw = opened.read(self.size)
        with Image.open(io.BytesIO(raw)) as image:
            return np.array(image.convert("RGB"))


def read_captions(data: Path, images: Path | None, split: str) -> list[Captioned]:
    """Read one split, whatever the layout.

    Args:
        data: a JSON file as of RSICD (`images`, each with `filename`, `split`, `sentences`); a folder with
            `<split>_caps.txt` and `<split>_filename.txt`; a CSV file with a column for the path, one for the caption,
            and `split` where it holds several; or a folder of tar files (webdataset: `key.jpg` beside `key.txt` or
            `key.json`), in folders named as the splits where there are several.
        images: folder that the paths are relative to; default: that of `data`. For pictures called `N.tif` it may
            hold a folder a class of 100 pictures each (UC Merced as published by class).
        split: `train`, `val` or `test`.

    Raises:
        TrainingError: where nothing is found, or a picture is missing.
    """
    if not data.exists():
        raise TrainingError(f"no captions at {data}")
    reader = _reader(data, split)
    try:
        found = reader(data, images or (data if data.is_dir() else data.parent), split)
    except (OSError, ValueError, KeyError, tarfile.TarError) as err:
        raise TrainingError(f"cannot read the captions {data}: {err}") from err
    if not found:
        raise TrainingError(f"{data} has no pictures with captions in its split {split}")
    return found


def has_split(data: Path, split: str) -> bool:
    """Whether a set of captions has a split, as far as names tell."""
    if data.is_dir():
        return (data / f"{split}_caps.txt").is_file() or any((data / split).glob("*.tar"))
    return f'"{split}"' in data.read_text(encoding="utf-8") or f",{split}" in data.read_text(encoding="utf-8")


def _reader(data: Path, split: str) -> Callable[[Path, Path, str], list[Captioned]]:
    if data.suffix == ".json":
        return _rsicd
    if data.suffix == ".csv":
        return _csv
    if (data / f"{split}_caps.txt").is_file():
        return _precomp
    if any((data / split).glob("*.tar")) or any(data.glob("*.tar")):
        return _webdataset
    raise TrainingError(
        f"{data} is no layout of captions that rszsl reads, or has no split {split}; see docs/TRAINING.md"
    )


def _rsicd(data: Path, images: Path, split: str) -> list[Captioned]:
    listed = json.loads(data.read_text(encoding="utf-8"))["images"]
    return [
        _captioned(images, item["filename"], (sentence["raw"] for sentence in item["sentences"]))
        for item in listed
        if item["split"] == split
    ]


def _precomp(data: Path, images: Path, split: str) -> list[Captioned]:
    """Captions beside names: a name a caption, or a name for each group of equally many captions."""
    captions = (data / f"{split}_caps.txt").read_text(encoding="utf-8").splitlines()
    names = (data / f"{split}_filename.txt").read_text(encoding="utf-8").split()
    each, rest = divmod(len(captions), max(1, len(names)))
    if rest or not each:
        raise TrainingError(f"{data}: {len(captions)} captions of {split} do not belong to {len(names)} names")
    of: dict[str, list[str]] = {}
    for i, caption in enumerate(captions):
        of.setdefault(names[i // each], []).append(caption)
    find = _ucm_finder(images) if not (images / names[0]).is_file() else None
    return [_captioned(images, name, found, find) for name, found in of.items()]


def _csv(data: Path, images: Path, split: str) -> list[Captioned]:
    with data.open(encoding="utf-8-sig", newline="") as opened:
        rows = list(csv.DictReader(opened))
    head = rows[0].keys() if rows else ()
    path_key = next((key for key in PATH_COLUMNS if key in head), None)
    caption_key = next((key for key in CAPTION_COLUMNS if key in head), None)
    if path_key is None or caption_key is None:
        raise TrainingError(f"{data} needs a column {' or '.join(PATH_COLUMNS)} and one {' or '.join(CAPTION_COLUMNS)}")
    of: dict[str, list[str]] = {}
    for row in rows:
        if row.get("split", split) == split:
            of.setdefault(row[path_key], []).append(row[caption_key])
    return [_captioned(images, name, captions) for name, captions in of.items()]


def _webdataset(data: Path, images: Path, split: str) -> list[Captioned]:
    folder = data / split if (data / split).is_dir() else data
    return [item for file in sorted(folder.glob("*.tar")) for item in _tar(file)]


def _tar(file: Path) -> Iterable[Captioned]:
    parts: dict[str, dict[str, Any]] = {}
    with tarfile.open(file) as opened:
        for member in opened:
            key, _, suffix = member.name.partition(".")
            kept = parts.setdefault(key, {})
            if suffix.lower() in PICTURES:
                kept["at"] = (member.offset_data, member.size)
            elif suffix in ("txt", "json") and (stream := opened.extractfile(member)) is not None:
                text = stream.read().decode("utf-8")
                kept["caption"] = json.loads(text).get("caption", "") if suffix == "json" else text
    for kept in parts.values():
        if kept.get("at") and kept.get("caption", "").strip():
            offset, size = kept["at"]
            yield Captioned(file, (kept["caption"].strip(),), offset=offset, size=size)


def _captioned(
    images: Path, name: str, captions: Iterable[str], find: Callable[[str], Path | None] | None = None
) -> Captioned:
    file = images / name
    if find is not None and (found := find(name)) is not None:
        file = found
    if not file.is_file():
        raise TrainingError(f"no picture {file}; name the folder of the pictures with --images")
    texts = tuple(text for caption in captions if (text := " ".join(caption.split())))
    return Captioned(file, texts, file.parent.name if file.parent != images else "")


def _ucm_finder(images: Path) -> Callable[[str], Path | None]:
    """`N.tif` -> the picture (N - 1) % 100 of the class (N - 1) // 100, both sorted."""
    classes = sorted(item for item in images.iterdir() if item.is_dir())
    files = [sorted(item for item in folder.iterdir() if item.is_file()) for folder in classes]

    def find(name: str) -> Path | None:
        stem = Path(name).stem
        if not stem.isdigit() or any(len(kept) != UCM_PER_CLASS for kept in files):
            return None
        row, column = divmod(int(stem) - 1, UCM_PER_CLASS)
        return files[row][column] if row < len(files) else None

    return find
