"""Files of a training run: written whole or not at all."""

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
