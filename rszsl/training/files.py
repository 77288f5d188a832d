"""Files of a training run: written whole or not at all, and named by what is in them."""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch


def save_npz(path: Path, **arrays: Any) -> None:
    """Write arrays under a temporary name, then rename: a reader never sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp.npz")
    np.savez(temporary, **arrays)
    temporary.replace(path)


def save_torch(path: Path, state: dict[str, Any]) -> None:
    """Write a training state under a temporary name, then rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    torch.save(state, temporary)
    temporary.replace(path)


def sha256_of(path: Path) -> str:
    """Hash one file, in hexadecimal."""
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def sha256_of_listing(paths: Iterable[Path], root: Path) -> str:
    """Hash the names and contents of many files, so that a card can say which data it was trained on."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + sha256_of(path).encode() + b"\n")
    return digest.hexdigest()
