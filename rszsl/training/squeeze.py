"""Bring a ViT trunk into four bits a weight, so that what its matrices say of real tiles changes least.

Weights are rounded column by column, and what a column got wrong is made good by the columns that are still to come, as
far as their inputs move together (GPTQ, arXiv 2210.17323). Blocks are done one after another, on the inputs that the
blocks before, already rounded, give.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from rszsl.model.packing import GROUP, NIBBLE, code_groups, fit_steps, value_groups
from rszsl.model.vit import VitTrunk

DAMPING = 0.01
"""Added to each input's power, in mean powers."""


@torch.no_grad()
def squeeze_trunk(trunk: VitTrunk, pixels: Sequence[Tensor], log: Callable[[str], None]) -> None:
    """Round the matrices of all blocks in place.

    Args:
        trunk: with the weights to be rounded.
        pixels: batches of normalised tiles, (n, 3, P, P) each, of which the rounding takes its inputs.
        log: takes one line at a time.
    """
    tokens = [trunk.embed(batch) for batch in pixels]
    for number, block in enumerate(trunk.vit.blocks):
        for layer, powers in _input_powers(block, tokens).items():
            layer.weight.copy_(round_matrix(layer.weight, powers))
        tokens = [block(batch) for batch in tokens]
        log(f"trunk: block {number + 1} of {len(trunk.vit.blocks)} in {NIBBLE} bits")


def _input_powers(block: nn.Module, tokens: Sequence[Tensor]) -> dict[nn.Linear, Tensor]:
    """Sum up the products of each pair of inputs, float32 (C, C), of each matrix of a block."""
    layers = [layer for layer in block.modules() if isinstance(layer, nn.Linear)]
    powers = {layer: torch.zeros(layer.in_features, layer.in_features) for layer in layers}

    def note(layer: nn.Module, given: tuple[Tensor, ...]) -> None:
        assert isinstance(layer, nn.Linear)
        rows = given[0].flatten(0, -2)
        powers[layer] += rows.T @ rows

    hooks = [layer.register_forward_pre_hook(note) for layer in layers]
    for batch in tokens:
        block(batch)
    for hook in hooks:
        hook.remove()
    return powers


def round_matrix(matrix: Tensor, powers: Tensor) -> Tensor:
    """Round a matrix (R, C) to levels of groups of columns, for inputs with these `powers` (C, C)."""
    size = len(powers)
    damped = powers.double() + DAMPING * powers.diagonal().double().mean() * torch.eye(size)
    # The upper factor of the inverse: row i says how the columns after i make good what column i got wrong.
    spread = torch.linalg.cholesky(torch.linalg.inv(damped), upper=True).float()
    left, rounded = matrix.clone(), torch.empty_like(matrix)
    for start in range(0, size, GROUP):
        stop = start + GROUP
        steps = fit_steps(left[:, start:stop], NIBBLE)
        wrong = torch.empty(len(left), GROUP)
        for column in range(start, stop):
            weights = left[:, column : column + 1]
            rounded[:, column : column + 1] = value_groups(code_groups(weights, steps, NIBBLE), steps)
            wrong[:, column - start] = (weights - rounded[:, column : column + 1])[:, 0] / spread[column, column]
            left[:, column:stop] -= wrong[:, column - start, None] * spread[column, column:stop]
        left[:, stop:] -= wrong @ spread[start:stop, stop:]
    return rounded
