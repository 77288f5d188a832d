"""Weights from elsewhere: safetensors wherever there are any; a pickle only where the user trusts it."""

from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from rszsl.errors import ModelError

PICKLES = frozenset({".bin", ".pt", ".pth", ".ckpt"})
PREFIX = "module."
"""What distributed training puts before every name."""


def check_trusted(file: Path, *, trust_pickle: bool) -> None:
    """Refuse a pickle that the user did not say to trust.

    Raises:
        ModelError: saying how to go on.
    """
    if file.suffix in PICKLES and not trust_pickle:
        raise ModelError(
            f"{file} is a pickle, which can be made to run code when it is read; if you trust where it comes from, "
            "give --trust-pickle (it is then read with weights_only)"
        )


def read_weights(file: Path, *, trust_pickle: bool) -> dict[str, Tensor]:
    """Read a checkpoint as a dictionary of tensors; a training checkpoint gives its `state_dict`.

    Raises:
        ModelError: where it cannot be read, or is a pickle that nobody trusts, or holds more than tensors.
    """
    check_trusted(file, trust_pickle=trust_pickle)
    try:
        raw = load_file(file) if file.suffix == ".safetensors" else torch.load(file, "cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, SafetensorError) as err:
        raise ModelError(f"cannot read the weights {file}: {err}; fetch them again") from err
    except UnpicklingError as err:
        raise ModelError(f"{file} holds more than weights, and is not read; name another file") from err
    tensors = raw.get("state_dict", raw) if isinstance(raw, Mapping) else None
    if not isinstance(tensors, Mapping) or not all(isinstance(t, Tensor) for t in tensors.values()):
        raise ModelError(f"{file} holds no table of tensors; give a state dictionary")
    return {name.removeprefix(PREFIX): tensor for name, tensor in tensors.items()}
