"""The teacher's word on every image: embeddings of the CLIP ViT-B/16 image tower.

They are read from a file that comes with the recipe; images that are not in it go through the tower, and what that says
is cached on disk by image set. `python -m rszsl.training.teacher RECIPE.toml OUT.npz` writes such a file.
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray

from rszsl.errors import RszslError, TrainingError
from rszsl.model.precision import multiplies_bf16
from rszsl.model.text import unit
from rszsl.model.towers.clip import load_clip
from rszsl.training.data import LabelledImage, list_images
from rszsl.training.files import save_npz
from rszsl.training.recipe import Teachers, read_recipe
from rszsl.zsl.data.folders import data_root
from rszsl.zsl.data.hashes import sha256_of
from rszsl.zsl.towers.cache import cache_features

Floats = NDArray[np.float32]
Log = Callable[[str], None]
LEVELS = 127
"""Steps from 0 to the largest value of a column, in the file."""


def teacher_embeddings(images: Sequence[LabelledImage], teachers: Teachers, log: Log) -> Floats:
    """Give the teacher's word on images: of the recipe's file, or else of the tower.

    Args:
        images: N of them, of any sets.
        teachers: of the recipe.
        log: takes one line at a time.

    Returns:
        float32 (N, 512), rows of unit length.

    Raises:
        TrainingError: where the file cannot be read, or the cache is of other images or another tower.
    """
    known: dict[str, Floats] = {}
    if teachers.vision_embeddings is not None:
        known |= read_embeddings(teachers.vision_embeddings)
    keys = [sha256_of(image.path) for image in images]
    missing = {key: image for image, key in zip(images, keys, strict=True) if key not in known}
    if missing:
        log(f"teacher: {len(missing)} of {len(images)} images go through the tower")
        known |= zip(missing, tower_embeddings(list(missing.values()), teachers, log), strict=True)
    return np.stack([known[key] for key in keys])


def tower_embeddings(images: Sequence[LabelledImage], teachers: Teachers, log: Log) -> Floats:
    """Run the tower over images, or read what an earlier run kept; an interrupted run goes on.

    Each set is cached as a whole, in the order of its paths.

    Returns:
        float32 (N, 512), rows of unit length.

    Raises:
        TrainingError: where the cache is of other images or another tower.
    """
    tower = load_clip(teachers.vision_tower)
    # Without instructions for it bf16 takes eight times as long as fp32.
    precision = torch.bfloat16 if multiplies_bf16(torch.device("cpu")) else torch.float32
    rows: dict[Path, Floats] = {}
    for set_name in dict.fromkeys(image.set_name for image in images):
        paths = sorted(image.path for image in images if image.set_name == set_name)
        folder = teachers.vision_cache / set_name
        kept = cache_features(tower, paths, folder, precision=precision, keep_tokens=False, log=log)
        rows |= zip(paths, unit(np.asarray(kept.embeddings, dtype="float32")), strict=True)
    return np.stack([rows[image.path] for image in images])


def write_embeddings(file: Path, images: Sequence[LabelledImage], embeddings: Floats) -> None:
    """Keep embeddings (N, 512) by their images' sha256: a byte a number, by the largest value of its column."""
    step = np.maximum(np.abs(embeddings).max(0), 1e-12) / LEVELS
    # The same file may lie there twice.
    rows = dict(
        zip((sha256_of(image.path) for image in images), np.rint(embeddings / step).astype("int8"), strict=True)
    )
    keys = sorted(rows)
    digests = np.frombuffer(bytes.fromhex("".join(keys)), "uint8").reshape(len(keys), -1)
    save_npz(file, sha256=digests, step=step, embeddings=np.stack([rows[key] for key in keys]))


def read_embeddings(file: Path) -> dict[str, Floats]:
    """Read what `write_embeddings` kept: unit vectors float32 (512,) by the image's sha256, in hexadecimal.

    Raises:
        TrainingError: where the file cannot be read or holds something else.
    """
    try:
        with np.load(file) as kept:
            rows = unit(kept["embeddings"] * kept["step"])
            return dict(zip((key.tobytes().hex() for key in kept["sha256"]), rows, strict=True))
    except (OSError, ValueError, KeyError, BadZipFile) as err:
        raise TrainingError(
            f"cannot read the embeddings {file}: {err}; fetch it again, or take vision_embeddings out of the recipe"
        ) from err


def main(arguments: list[str]) -> int:
    """Write the embeddings of a recipe's images; the exit code is 0, 1 for what the user can put right, 2 for usage."""
    if len(arguments) != 2:
        print("usage: python -m rszsl.training.teacher RECIPE.toml OUT.npz", file=sys.stderr)
        return 2
    try:
        recipe = read_recipe(Path(arguments[0]))
        images = list_images(data_root(), recipe.sets)
        write_embeddings(Path(arguments[1]), images, tower_embeddings(images, recipe.teachers, print))
    except RszslError as err:
        print(f"error: {err}", file=sys.stderr)
        return 1
    print(f"{len(images)} images in {arguments[1]}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
