"""Several views of each tile, averaged: turned by quarters, then mirrored (test-time augmentation; decision 0048).

A picture from above has no upright, and yet a network answers a turned one a little otherwise. The mean of its answers
is right more often than one of them, for so many times the work.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rszsl.model.encoder import Encoded, Floats, Pixels
from rszsl.model.text import unit

QUARTER_TURNS = (0, 2, 1, 3)
"""Of each view, anticlockwise; those from the fifth on are mirrored before. The first one is the tile as it is."""

Encode = Callable[[Pixels], Encoded]


def many_views(encode: Encode, views: int) -> Encode:
    """Make an encoder that shows another one each tile `views` times, and answers with the mean.

    Embeddings and attributes are the mean direction, of unit length; attention maps are turned back first.

    Args:
        encode: of tiles (N, 3, P, P).
        views: at most 8: the tile as it is, upside down, all quarter turns, and these mirrored.
    """

    def encode_all(tiles: Pixels) -> Encoded:
        answers = [encode(turned(tiles, view)) for view in range(views)]
        maps = [turned_back(a.maps, view) for view, a in enumerate(answers) if a.maps is not None]
        return Encoded(
            unit(np.mean([answer.embedding for answer in answers], axis=0)),
            unit(np.mean([answer.attributes for answer in answers], axis=0)),
            np.mean(maps, axis=0) if maps else None,
        )

    return encode if views == 1 else encode_all


def turned(tiles: NDArray[Any], view: int) -> NDArray[Any]:
    """Turn tiles (N, 3, P, P) as a view shows them."""
    mirrored = tiles[..., ::-1] if view >= len(QUARTER_TURNS) else tiles
    return np.ascontiguousarray(np.rot90(mirrored, QUARTER_TURNS[view % len(QUARTER_TURNS)], (2, 3)))


def turned_back(maps: Floats, view: int) -> Floats:
    """Undo `turned` on what a view shows of a tile, (N, A, G, G)."""
    upright = np.rot90(maps, -QUARTER_TURNS[view % len(QUARTER_TURNS)], (2, 3))
    return upright[..., ::-1] if view >= len(QUARTER_TURNS) else upright
