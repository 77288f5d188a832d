"""Where a model runs."""

import ctypes
import sys

import torch

from rszsl.errors import ModelError

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""Names of `mallopt` in glibc's malloc.h."""


def parse_device(name: str) -> torch.device:
    """Turn `auto`, `cpu`, `cuda`, `cuda:N` or `mps` into a device; `auto` takes CUDA, then MPS, then the CPU.

    Raises:
        ModelError: where the name is none of these, or the device is not there.
    """
    if name == "auto":
        return torch.device(_best())
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type == "cuda":
        _check_cuda(name, device.index)
    elif device.type == "mps":
        if not torch.backends.mps.is_available():
            raise ModelError(f'device "{name}" is not there: this torch has no MPS; use "auto" or "cpu"')
    elif device.type != "cpu":
        raise ModelError(f'unknown device "{name}"; use auto, cpu, cuda, cuda:N or mps')
    return device


def _best() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _check_cuda(name: str, index: int | None) -> None:
    count = torch.cuda.device_count()
    if count == 0:
        raise ModelError(f'device "{name}" is not there: torch sees no CUDA GPU; use "auto" or "cpu"')
    if index is not None and index >= count:
        raise ModelError(f'device "{name}" is not there: torch sees {count} CUDA GPU(s), numbered from 0')


def keep_freed_memory() -> None:
    """Let glibc keep what a batch frees for the next one, instead of a page fault for each page of every batch.

    For the whole process; nothing happens where there is no glibc. What it gains: docs/decisions/0041-precision.md.
    """
    if not sys.platform.startswith("linux"):
        return
    tune = getattr(ctypes.CDLL(None), "mallopt", None)
    if tune is not None:
        tune(MMAP_THRESHOLD, 1 << 30)
        tune(TRIM_THRESHOLD, (1 << 31) - 1)
