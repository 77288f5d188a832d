"""Weights in fewer bits: a matrix in groups of columns, each with a step and a lowest value of its own."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

GROUP = 128
"""Neighbours in a row that share a step and a lowest value, float16 each."""
CODES, STEPS = ":codes", ":steps"
NIBBLE, BYTE = 4, 8
"""Bits of a weight: two of four bits share a byte."""
SPANS = (1.0, 0.9, 0.8, 0.7)
"""Shares of a group's span that are tried: what lies outside is cut, and what lies inside is nearer to a level."""
MOST_UNUSED = 8
"""Levels that a group which was packed before may have left unused, and is yet packed as before."""


def pack_groups(name: str, matrix: Tensor, bits: int) -> dict[str, Tensor]:
    """Pack a matrix (R, C), C a multiple of GROUP, into `NIBBLE` or `BYTE` bits a weight.

    Of some spans of a group's levels the one with the least squared error is taken.

    Returns:
        `name:codes`, uint8 (R, C * bits / 8), and `name:steps`, float16 (R, C / GROUP, 2): step and lowest value of
        each group.
    """
    groups = matrix.float().view(len(matrix), -1, GROUP)
    steps = fit_steps(groups, bits)
    codes = code_groups(groups, steps, bits).flatten(1)
    if bits == NIBBLE:
        codes = codes[:, 0::2] | codes[:, 1::2] << NIBBLE
    return {name + CODES: codes, name + STEPS: steps}


def fit_steps(groups: Tensor, bits: int) -> Tensor:
    """Choose step and lowest value, float16 (..., 2), for each group of weights (..., GROUP)."""
    levels = 2**bits - 1
    low, high = groups.amin(-1), groups.amax(-1)
    middle, span = (low + high) / 2, high - low
    tried = [torch.stack([span * share / levels, middle - span * share / 2], -1) for share in SPANS]
    tried += [torch.stack([span / (levels - unused), low], -1) for unused in range(1, MOST_UNUSED)]
    steps = torch.stack(tried).half()
    errors = torch.stack([(value_groups(code_groups(groups, s, bits), s) - groups).square().sum(-1) for s in steps])
    best = errors.argmin(0)
    return steps.gather(0, best[None, ..., None].expand(1, *best.shape, 2))[0]


def unpack_groups(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give tensors by name, what `pack_groups` packed as float32 matrices, all others as they are."""
    found = {name: value for name, value in tensors.items() if not name.endswith((CODES, STEPS))}
    for name in (name.removesuffix(CODES) for name in tensors if name.endswith(CODES)):
        codes, steps = tensors[name + CODES], tensors[name + STEPS]
        if codes.shape[1] < steps.shape[1] * GROUP:
            codes = _apart(codes)
        found[name] = value_groups(codes.view(*steps.shape[:2], GROUP), steps).flatten(1)
    return found


def _apart(pairs: Tensor) -> Tensor:
    """Give both codes of each byte, uint8 (R, 2 * C)."""
    codes = pairs.new_empty(len(pairs), 2 * pairs.shape[1])
    torch.bitwise_and(pairs, 2**NIBBLE - 1, out=codes[:, 0::2])
    torch.bitwise_right_shift(pairs, NIBBLE, out=codes[:, 1::2])
    return codes


def count_numbers(shapes: Mapping[str, Sequence[int]]) -> int:
    """Count the weights in tensors of these shapes, by name, before they were packed."""
    whole = [math.prod(shape) for name, shape in shapes.items() if not name.endswith((CODES, STEPS))]
    packed = [math.prod(shape) // 2 * GROUP for name, shape in shapes.items() if name.endswith(STEPS)]
    return sum(whole) + sum(packed)


def code_groups(groups: Tensor, steps: Tensor, bits: int) -> Tensor:
    """Number the level next to each weight: uint8 (..., GROUP)."""
    step, low = steps.float()[..., :1], steps.float()[..., 1:]
    codes = ((groups - low) / step.clamp_min(torch.finfo(torch.float16).tiny)).round()
    return codes.clamp(0, 2**bits - 1).to(torch.uint8)


def value_groups(codes: Tensor, steps: Tensor) -> Tensor:
    """Give the weights that levels stand for: float32 (..., GROUP)."""
    return codes * steps.float()[..., :1] + steps.float()[..., 1:]
