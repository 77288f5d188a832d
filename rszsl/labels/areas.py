"""Connected areas: tiles of one class that share an edge, found on the grid of classes by runs of a row."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

Numbers = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Areas:
    """r areas, ordered by their first tile.

    Attributes:
        grid: int64 (rows, cols), number of the area of each tile of the grid, -1 for none.
        member: int64 (n,), the same for the tiles asked for.
        first: int64 (r,), position of an area's first tile among them.
        tiles: int64 (r,), how many tiles it has.
    """

    grid: Numbers
    member: Numbers
    first: Numbers
    tiles: Numbers

    def __len__(self) -> int:
        return len(self.first)


def find_areas(shape: tuple[int, int], tile_ids: Numbers, class_ids: Numbers) -> Areas:
    """Find the areas of one class each; tiles that touch only at a corner do not belong together.

    Args:
        shape: rows and columns of the grid.
        tile_ids: int64 (n,), ascending.
        class_ids: int64 (n,), -1 for a tile of no class.
    """
    classes = np.full(shape[0] * shape[1], -1, dtype="int64")
    classes[tile_ids] = class_ids
    grid = _numbered(classes.reshape(shape))
    member = grid.ravel()[tile_ids]
    inside = np.flatnonzero(member >= 0)
    _, first = np.unique(member[inside], return_index=True)
    return Areas(grid, member, inside[first], np.bincount(member[inside], minlength=len(first)).astype("int64"))


def _numbered(classes: Numbers) -> Numbers:
    """Number of the area of each cell (rows, cols), in the order of their first cells; -1 for no class."""
    begins = np.ones(classes.shape, dtype=bool)
    begins[:, 1:] = classes[:, 1:] != classes[:, :-1]
    run = np.cumsum(begins).reshape(classes.shape) - 1
    joined = (classes[1:] == classes[:-1]) & (begins[1:] | begins[:-1])
    links = run[:-1][joined], run[1:][joined]
    runs = int(run[-1, -1]) + 1
    graph = coo_matrix((np.ones(len(links[0]), dtype="int8"), links), shape=(runs, runs))
    _, area = connected_components(graph, directed=False)
    labelled = np.flatnonzero(classes[begins] >= 0)
    found, first = np.unique(area[labelled], return_index=True)
    number = np.full(runs, -1, dtype="int64")
    number[found[np.argsort(first)]] = np.arange(len(found))
    return np.asarray(np.where(classes >= 0, number[area][run], -1))
