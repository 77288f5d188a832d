"""Tokens and embeddings of a frozen tower, computed once and kept on disk; an interrupted run goes on.

A cache is a folder: `tokens.npy` float16 (N, T, D) and `embeddings.npy` float16 (N, E), memory-mapped, and
`cache.json`, which says of which images and which tower they are and how many rows are done.
"""

import copy
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rszsl.errors import TrainingError
from rszsl.model.towers.tower import Tower
from rszsl.zsl.towers.images import read_rgb, test_view

Half = NDArray[np.float16]
TOKENS_FILE, EMBEDDINGS_FILE = "tokens.npy", "embeddings.npy"
SAVE_EVERY = 20
"""Batches between two notes of how far it got."""


@dataclass(frozen=True, slots=True, eq=False)
class TowerFeatures:
    """Frozen features of N images.

    Attributes:
        tokens: float16 (N, T, D), memory-mapped; (0, T, D) where only the embeddings were kept.
        embeddings: float16 (N, E), not normalised; the mean token where the tower has no embedding.
        key: sha256 of the images and the tower, and of what was kept.
    """

    tokens: Half
    embeddings: Half
    key: str


def tower_key(tower: Tower, paths: Sequence[Path], *, keep_tokens: bool = True) -> str:
    """Hash a tower's weights and the contents of its images, in order, and whether tokens are kept."""
    digest = hashlib.sha256(b"" if keep_tokens else b"embeddings")
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
    keep_tokens: bool = True,
    log: Callable[[str], None] = print,
) -> TowerFeatures:
    """Run a frozen tower over images, or go on where an earlier run stopped.

    Args:
        tower: it is left as it is.
        paths: the images, whose order is that of the rows.
        folder: the cache.
        batch_size: images a step.
        precision: what the tower computes in.
        keep_tokens: or embeddings alone, in a three-hundredth of the space.
        log: takes one line at a time.

    Raises:
        TrainingError: where the folder holds the cache of other images or another tower.
    """
    key = tower_key(tower, paths, keep_tokens=keep_tokens)
    done = _done(folder, key)
    tokens = _array(folder / TOKENS_FILE, (len(paths) * keep_tokens, tower.spec.tokens, tower.spec.width), done)
    # A tower without an embedding keeps its mean token in its place.
    width = tower.spec.embedding_dim or tower.spec.width
    embeddings = _array(folder / EMBEDDINGS_FILE, (len(paths), width), done)
    if done < len(paths):
        tower = copy.deepcopy(tower).eval().to(precision)
        for step, start in enumerate(range(done, len(paths), batch_size)):
            part = slice(start, start + batch_size)
            pixels = torch.stack([test_view(read_rgb(path), tower.spec) for path in paths[part]])
            with torch.inference_mode():
                out = tower(pixels.to(precision))
            if keep_tokens:
                tokens[part] = out.tokens.half().numpy()
            embedding = out.tokens.mean(1) if out.embedding is None else out.embedding
            embeddings[part] = embedding.half().numpy()
            end = min(start + batch_size, len(paths))
            if step % SAVE_EVERY == SAVE_EVERY - 1 or end == len(paths):
                for array in (tokens, embeddings):
                    array.flush()
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
        tokens, embeddings = (np.load(folder / n, mmap_mode="r") for n in (TOKENS_FILE, EMBEDDINGS_FILE))
    except (OSError, ValueError) as err:
        raise TrainingError(f"{folder} holds no feature cache ({err}); `rszsl benchmark` makes it") from err
    if note["done"] < len(embeddings):
        raise TrainingError(
            f"the feature cache {folder} is not finished ({note['done']} of {len(embeddings)}); run it again"
        )
    return TowerFeatures(tokens, embeddings, note["key"])


def _array(file: Path, shape: tuple[int, ...], done: int) -> "np.memmap[Any, np.dtype[np.float16]]":
    file.parent.mkdir(parents=True, exist_ok=True)
    opened: np.memmap[Any, np.dtype[np.float16]] = np.lib.format.open_memmap(
        file, mode="r+" if done else "w+", dtype="float16", shape=None if done else shape
    )
    return opened


def _done(folder: Path, key: str) -> int:
    file = folder / "cache.json"
    if not file.exists():
        return 0
    note = json.loads(file.read_text(encoding="utf-8"))
    if note["key"] != key:
        raise TrainingError(
            f"the feature cache {folder} is of other images or another tower, or was made with tokens where none "
            "are wanted now, or without; delete it, or name another folder"
        )
    return int(note["done"])


def _note(folder: Path, key: str, done: int) -> None:
    temporary = folder / "cache.json.tmp"
    temporary.write_text(json.dumps({"key": key, "done": done}), encoding="utf-8")
    temporary.replace(folder / "cache.json")
