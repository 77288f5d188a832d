"""Regions: adjacent kept cells of one class, dissolved.

Cells that share an edge belong together. Areas are found and outlined on the grid of labels, so the cost grows with
the number of tiles and not with pairs of polygons.
"""

from dataclasses import dataclass

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray

from rszsl.labels.areas import Areas, find_areas
from rszsl.output.rings import trace
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
        areas: which tiles they hold.
    """

    class_id: NDArray[np.int64]
    polygons: NDArray[np.object_]
    tiles: NDArray[np.int64]
    confidence_mean: NDArray[np.float32]
    confidence_max: NDArray[np.float32]
    areas: Areas


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
    areas = find_areas(grid.shape, tile_ids, class_ids)
    inside = areas.member >= 0
    member, sure = areas.member[inside], confidence[inside]
    total = np.bincount(member, weights=sure, minlength=len(areas))
    highest = np.full(len(areas), -np.inf, dtype="float32")
    np.maximum.at(highest, member, sure)
    return Regions(
        class_id=class_ids[areas.first],
        polygons=_outlines(grid, areas, transform),
        tiles=areas.tiles,
        confidence_mean=(total / np.maximum(areas.tiles, 1)).astype("float32"),
        confidence_max=highest,
        areas=areas,
    )


def _outlines(grid: Grid, areas: Areas, transform: Affine) -> NDArray[np.object_]:
    """Polygon of each area: corners are whole pixels, placed in the CRS, so neighbours share them to the bit."""
    rings = trace(areas.grid)
    if not len(rings.area):
        return np.empty(0, dtype=object)
    row_edges, col_edges = (edges.astype("float64") for edges in grid.cell_edges())
    xy = np.column_stack(pixel_to_xy(transform, row_edges[rings.corners[:, 0]], col_edges[rings.corners[:, 1]]))
    outlines = np.asarray(shapely.linearrings(xy, indices=rings.ring))
    return np.asarray(shapely.polygons(outlines, indices=rings.area))
