"""Files of a training run: written whole or not at all."""

import json
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


def save_json(path: Path, content: Any) -> None:
    """Write what JSON can say under a temporary name, then rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")
    temporary.replace(path)
