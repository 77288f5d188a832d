"""Kept cells as well-known binary, made by the column and not by the polygon."""

import numpy as np
import pyarrow as pa
from affine import Affine
from numpy.typing import NDArray

from rszsl.scene.georef import pixel_to_xy
from rszsl.scene.grid import Grid

LITTLE_ENDIAN, POLYGON, CORNERS = 1, 3, 5
_CELL = np.dtype([("order", "u1"), ("kind", "<u4"), ("rings", "<u4"), ("points", "<u4"), ("xy", "<f8", (CORNERS, 2))])


def cell_wkb(grid: Grid, tile_ids: NDArray[np.int64], transform: Affine) -> pa.Array:
    """Polygons of kept cells, the same to the bit as those of `rszsl.scene.georef.cell_polygons`.

    Args:
        grid: numbers of `tile_ids` refer to it.
        tile_ids: int64 (n,).
        transform: pixel to CRS.

    Returns:
        binary (n,).
    """
    row_edges, col_edges = (edges.astype("float64") for edges in grid.cell_edges())
    rows, cols = np.divmod(tile_ids, grid.shape[1])
    down, right = np.array([0, 1, 1, 0, 0]), np.array([0, 0, 1, 1, 0])
    x, y = pixel_to_xy(transform, row_edges[rows[:, None] + down], col_edges[cols[:, None] + right])
    cells = np.empty(len(tile_ids), dtype=_CELL)
    cells["order"], cells["kind"], cells["rings"], cells["points"] = LITTLE_ENDIAN, POLYGON, 1, CORNERS
    cells["xy"][..., 0], cells["xy"][..., 1] = x, y
    offsets = np.arange(len(cells) + 1, dtype="int32") * _CELL.itemsize
    return pa.Array.from_buffers(pa.binary(), len(cells), [None, pa.py_buffer(offsets), pa.py_buffer(cells)])
