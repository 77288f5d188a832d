"""Regions: adjacent kept cells of one class, dissolved.

Cells that share an edge belong together. Connected components are found on the grid of labels, so the cost grows
with the number of tiles and not with pairs of polygons.
"""

from dataclasses import dataclass

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from scipy import ndimage

from rszsl.scene.georef import pixel_to_xy
from rszsl.scene.grid import Grid


@dataclass(frozen=True, slots=True, eq=False)
class Regions:
    """r regions, ordered by the number of their first tile.

    Attributes:
        class_id: int64 (r,).
        polygons: object (r,), one shapely polygon each, in the scene's CRS; holes stay holes.
        tiles: int64 (r,), number of tiles.
        confidence_mean, confidence_max: float32 (r,), over the tiles.
    """

    class_id: NDArray[np.int64]
    polygons: NDArray[np.object_]
    tiles: NDArray[np.int64]
    confidence_mean: NDArray[np.float32]
    confidence_max: NDArray[np.float32]


def find_regions(
    grid: Grid,
    tile_ids: NDArray[np.int64],
    class_ids: NDArray[np.int64],
    confidence: NDArray[np.float32],
    transform: Affine,
) -> Regions:
    """Dissolve labelled tiles into regions.

    Args:
        grid: all tiles of the scene.
        tile_ids: int64 (n,), ascending.
        class_ids: int64 (n,), -1 for a tile of no class.
        confidence: float32 (n,), of that class.
        transform: pixel to CRS.
    """
    component = _components(grid.shape, tile_ids, class_ids)
    inside = component >= 0
    member, ids, classes, sure = component[inside], tile_ids[inside], class_ids[inside], confidence[inside]
    count = int(member.max(initial=-1)) + 1
    _, first = np.unique(member, return_index=True)
    total = np.bincount(member, weights=sure, minlength=count)
    tiles = np.bincount(member, minlength=count)
    highest = np.full(count, -np.inf, dtype="float32")
    np.maximum.at(highest, member, sure)
    return Regions(
        class_id=classes[first],
        polygons=_dissolve(grid, ids, member, count, transform),
        tiles=tiles.astype("int64"),
        confidence_mean=(total / np.maximum(tiles, 1)).astype("float32"),
        confidence_max=highest,
    )


def _components(shape: tuple[int, int], tile_ids: NDArray[np.int64], class_ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number of the connected component of each tile (n,), by first tile; -1 for a tile of no class."""
    label_grid = np.full(shape[0] * shape[1], -1, dtype="int64")
    label_grid[tile_ids] = class_ids
    numbers = np.zeros_like(label_grid)
    count = 0
    for class_id in np.unique(class_ids[class_ids >= 0]):
        found, n = ndimage.label((label_grid == class_id).reshape(shape))
        numbers += np.where(found.ravel() > 0, found.ravel() + count, 0)
        count += n
    mine = numbers[tile_ids]
    _, first, inverse = np.unique(mine, return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(np.where(mine[first] == 0, -1, first)))
    ordered: NDArray[np.int64] = np.where(mine == 0, -1, rank[inverse] - int((mine == 0).any()))
    return ordered


def _dissolve(
    grid: Grid, tile_ids: NDArray[np.int64], member: NDArray[np.int64], count: int, transform: Affine
) -> NDArray[np.object_]:
    """Union the cells of each component in whole pixels, where edges match exactly, then place them in the CRS."""
    row_edges, col_edges = grid.cell_edges()
    rows, cols = np.divmod(tile_ids, grid.shape[1])
    boxes = shapely.box(col_edges[cols], row_edges[rows], col_edges[cols + 1], row_edges[rows + 1])
    order = np.argsort(member, kind="stable")
    groups = np.split(boxes[order], np.cumsum(np.bincount(member, minlength=count))[:-1]) if count else []
    merged = np.empty(count, dtype=object)
    merged[:] = [shapely.simplify(shapely.coverage_union_all(group), 0) for group in groups]
    to_crs = lambda colrow: np.column_stack(pixel_to_xy(transform, colrow[:, 1], colrow[:, 0]))  # noqa: E731
    placed: NDArray[np.object_] = shapely.transform(merged, to_crs)
    return placed
