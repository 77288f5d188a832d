"""Heads at the beginning of a training."""

from torch import Tensor, from_numpy

from rszsl.model.heads import DsvaHeads
from rszsl.zsl.dsva.recipe import DsvaRecipe
from rszsl.zsl.problem import ClassTable


def start_heads(width: int, prefix: int, grid: int, table: ClassTable, recipe: DsvaRecipe, tokens: Tensor) -> DsvaHeads:
    """Build heads, calibrated on tokens of training images where the recipe is centred.

    Args:
        width: of a token.
        prefix: tokens before the patches.
        grid: patches a side.
        table: the attributes, with their anchors where the recipe is anchored and there are any.
        recipe: decides how the heads start.
        tokens: (n, T, D), of some hundreds of training images.
    """
    heads = DsvaHeads(width, table.rows.shape[1], prefix, grid, centred=recipe.centred)
    if recipe.centred:
        anchors = table.anchors if recipe.anchored else None
        heads.calibrate(tokens, None if anchors is None else from_numpy(anchors))
    return heads
