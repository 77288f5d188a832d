"""Tokens and embeddings of a frozen tower, computed once and kept on disk; an interrupted run goes on.

A cache is a folder: `tokens.npy` float16 (N, T, D) and `embeddings.npy` float16 (N, E), memory-mapped, and
`cache.json`, which says of which images and which tower they are and how many rows are done.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from rszsl.errors import TrainingError
from rszsl.model.towers.tower import Tower
from rszsl.zsl.towers.images import read_rgb, test_view

Half = NDArray[np.float16]
SAVE_EVERY = 20
"""Batches between two notes of how far it got."""


@dataclass(frozen=True, slots=True, eq=False)
class TowerFeatures:
    """Frozen features of N images.

    Attributes:
        tokens: float16 (N, T, D), memory-mapped.
        embeddings: float16 (N, E), not normalised.
        key: sha256 of the images and the tower.
    """

    tokens: Half
    embeddings: Half
    key: str


def tower_key(tower: Tower, paths: Sequence[Path]) -> str:
    """Hash a tower's weights and the contents of its images, in order."""
    digest = hashlib.sha256()
    for name, weight in sorted(tower.state_dict().items()):
        digest.update(name.encode() + weight.cpu().numpy().tobytes())
    for path in paths:
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def cache_features(
    tower: Tower,
    paths: Sequence[Path],
    folder: Path,
    *,
    batch_size: int = 16,
    precision: torch.dtype = torch.float32,
    log: Callable[[str], None] = print,
) -> TowerFeatures:
    """Run a frozen tower over images, or go on where an earlier run stopped.

    Args:
        tower: it is put in evaluation mode.
        paths: the images, whose order is that of the rows.
        folder: the cache.
        batch_size: images a step.
        precision: what the tower computes in.
        log: takes one line at a time.

    Raises:
        TrainingError: where the folder holds the cache of other images or another tower.
    """
    key = tower_key(tower, paths)
    done = _done(folder, key)
    tokens = _array(folder / "tokens.npy", (len(paths), tower.spec.tokens, tower.spec.width), done)
    embeddings = _array(folder / "embeddings.npy", (len(paths), tower.spec.embedding_dim), done)
    if done < len(paths):
        tower = tower.eval().to(precision)
        for step, start in enumerate(range(done, len(paths), batch_size)):
            part = slice(start, start + batch_size)
            pixels = torch.stack([test_view(read_rgb(path), tower.spec) for path in paths[part]])
            with torch.inference_mode():
                out = tower(pixels.to(precision))
            tokens[part] = out.tokens.half().numpy()
            if out.embedding is not None:
                embeddings[part] = out.embedding.half().numpy()
            end = min(start + batch_size, len(paths))
            if step % SAVE_EVERY == SAVE_EVERY - 1 or end == len(paths):
                tokens.flush()
                embeddings.flush()
                _note(folder, key, end)
                log(f"{folder.name}: {end} of {len(paths)} images")
    return read_features(folder)


def read_features(folder: Path) -> TowerFeatures:
    """Open a finished cache.

    Raises:
        TrainingError: where there is none, or it is not finished.
    """
    try:
        note = json.loads((folder / "cache.json").read_text(encoding="utf-8"))
        tokens, embeddings = (np.load(folder / f"{n}.npy", mmap_mode="r") for n in ("tokens", "embeddings"))
    except (OSError, ValueError) as err:
        raise TrainingError(f"{folder} holds no feature cache ({err}); make it with `rszsl features`") from err
    if note["done"] < len(tokens):
        raise TrainingError(
            f"the feature cache {folder} is not finished ({note['done']} of {len(tokens)}); run it again"
        )
    return TowerFeatures(tokens, embeddings, note["key"])


def _array(file: Path, shape: tuple[int, ...], done: int) -> Half:
    file.parent.mkdir(parents=True, exist_ok=True)
    mode = "r+" if done else "w+"
    return np.lib.format.open_memmap(file, mode=mode, dtype="float16", shape=None if done else shape)  # type: ignore[no-untyped-call]


def _done(folder: Path, key: str) -> int:
    file = folder / "cache.json"
    if not file.exists():
        return 0
    note = json.loads(file.read_text(encoding="utf-8"))
    if note["key"] != key:
        raise TrainingError(f"the feature cache {folder} is of other images or another tower; name another folder")
    return int(note["done"])


def _note(folder: Path, key: str, done: int) -> None:
    temporary = folder / "cache.json.tmp"
    temporary.write_text(json.dumps({"key": key, "done": done}), encoding="utf-8")
    temporary.replace(folder / "cache.json")
