"""Which arithmetic a model runs in: asked for, or chosen by a rule from facts (docs/decisions/0041-precision.md)."""

import torch

from rszsl.errors import ModelError
from rszsl.model.card import ModelCard
from rszsl.options import PRECISIONS

MIN_AGREEMENT = 0.995
"""`auto` leaves fp32 only where at least so many tiles keep the label that fp32 gives them."""
CUDA_BF16_FROM = (8, 0)
"""Compute capability from which a GPU multiplies bf16 itself."""
CPU_BF16 = ("avx512_bf16", "amx_bf16")
"""What a CPU that does so calls it."""
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def choose_precision(asked: str, device: torch.device, card: ModelCard) -> str:
    """Choose `fp32` or `bf16`.

    `auto` takes bf16 where the device multiplies it itself and the card says that labels agree with fp32
    (`[precision]`, `bf16_agreement`, measured by `tests/benchmarks/bench_precision.py`); else fp32.

    Args:
        asked: one of `PRECISIONS`.
        device: where the model runs.
        card: of the model.

    Raises:
        ModelError: for a precision that is unknown, or that the device or the model cannot do.
    """
    if asked not in PRECISIONS:
        raise ModelError(f'unknown precision "{asked}"; use {", ".join(PRECISIONS)}')
    if asked == "int8":
        raise ModelError(
            f"--precision int8 is for models that come with int8 weights, and {card.name} has none; use --precision "
            "bf16, fp32 or auto (why: docs/MODELS.md)"
        )
    if asked == "bf16" and device.type not in ("cpu", "cuda"):
        raise ModelError(f"--precision bf16 is for CPUs and CUDA GPUs, not for {device}; use --precision fp32")
    if asked != "auto":
        return asked
    return "bf16" if agreement_of(card) >= MIN_AGREEMENT and multiplies_bf16(device) else "fp32"


def agreement_of(card: ModelCard) -> float:
    """Share of tiles, 0..1, to which bf16 gave the label of fp32; 0 where nobody measured it."""
    told = card.raw.get("precision", {})
    return float(told.get("bf16_agreement", 0.0))


def multiplies_bf16(device: torch.device) -> bool:
    """Whether a device has instructions for bf16; one that cannot say has none."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= CUDA_BF16_FROM
    if device.type != "cpu" or not hasattr(torch.cpu, "get_capabilities"):
        return False
    found = torch.cpu.get_capabilities()
    return any(bool(found.get(name)) for name in CPU_BF16)
