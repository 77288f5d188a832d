"""Examples: points and polygons with a class, and the tiles of a scene that they mean."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS

from rszsl.classes import class_key
from rszsl.errors import ExamplesError
from rszsl.scene.grid import Grid
from rszsl.scene.vector import read_vector, to_crs

WHAT = "the examples"
KINDS = ("Point", "Polygon")
MOSTLY = 0.5
"""A tile is an example where a polygon covers at least this share of its cell."""


@dataclass(frozen=True, slots=True, eq=False)
class Examples:
    """Places whose class is known.

    Attributes:
        path: where they were read from.
        names: n class names, as first written in the file (case and spacing make no other class).
        places: object (n,) of points and polygons, in the CRS that was asked for.
        warnings: what was left out.
    """

    path: Path
    names: tuple[str, ...]
    places: NDArray[np.object_]
    warnings: tuple[str, ...]


def read_examples(path: Path, field: str | None, crs: CRS) -> Examples:
    """Read points and polygons with a class column; parts of multi-geometries count one by one.

    Args:
        path: any vector file.
        field: the column with the class; may be left out where the file has only one column.
        crs: to bring them to.

    Raises:
        ExamplesError: where the file cannot be read, has no CRS, no such column, or no point or polygon with a class.
    """
    frame = read_vector(path, WHAT, ExamplesError)
    column = _class_column(frame, field, path)
    parts = frame[[column, frame.geometry.name]].explode(index_parts=False, ignore_index=True)
    usable = parts.geometry.geom_type.isin(KINDS) & ~parts.geometry.is_empty
    named = parts[column].map(_name_of) != ""
    kept = parts[usable & named]
    if kept.empty:
        raise ExamplesError(f"{WHAT} {path} hold no point or polygon with a class in the column {column}")
    left_out = len(parts) - len(kept)
    warning = f"{left_out} of {len(parts)} examples in {path} are no point or polygon, or have no class: left out"
    projected = to_crs(kept, crs, path, WHAT, ExamplesError)
    spelling: dict[str, str] = {}
    return Examples(
        path=path,
        names=tuple(spelling.setdefault(class_key(n), n) for n in kept[column].map(_name_of)),
        places=shapely.make_valid(projected.geometry.to_numpy()),
        warnings=(warning,) if left_out else (),
    )


def example_tiles(examples: Examples, grid: Grid, transform: Affine) -> tuple[Mapping[str, list[int]], int]:
    """Find the tiles under the examples.

    A point means the tile whose cell holds it, a polygon all tiles whose cells it mostly covers, or, where it is
    smaller than that, the tile under a point inside it.

    Returns:
        Tile numbers by class name, each once, in the order of the file; and how many places miss the scene.

    Raises:
        ExamplesError: where all of them miss it.
    """
    found: dict[str, list[int]] = {}
    missed = 0
    to_pixels = ~transform
    for name, place in zip(examples.names, examples.places, strict=True):
        tiles = _tiles_under(shapely.transform(place, lambda xy: _apply(to_pixels, xy)), grid)
        missed += not tiles
        listed = found.setdefault(name, [])
        listed.extend(tile for tile in tiles if tile not in listed)
    if missed == len(examples.names):
        raise ExamplesError(
            f"{WHAT} {examples.path} all lie outside the scene; check their CRS, or name their scene with "
            "--examples-scene"
        )
    return found, missed


def _class_column(frame: gpd.GeoDataFrame, field: str | None, path: Path) -> str:
    columns = [str(c) for c in frame.columns if c != frame.geometry.name]
    if field is None and len(columns) == 1:
        return columns[0]
    listed = ", ".join(columns) or "none"
    if field is None:
        raise ExamplesError(f"say which column of {path} holds the class with --class-field (it has: {listed})")
    if field not in columns:
        raise ExamplesError(f'{WHAT} {path} have no column "{field}" (they have: {listed}); see --class-field')
    return field


def _name_of(value: Any) -> str:
    """Read a class from a cell of the table; a whole number is written without decimals, nothing is empty."""
    if pd.isna(value):
        return ""
    whole = isinstance(value, float) and value.is_integer()
    return " ".join(str(int(value) if whole else value).split())


def _apply(transform: Affine, xy: NDArray[np.float64]) -> NDArray[np.float64]:
    x, y = xy[:, 0], xy[:, 1]
    cols = transform.a * x + transform.b * y + transform.c
    rows = transform.d * x + transform.e * y + transform.f
    return np.column_stack([cols, rows])


def _tiles_under(place: shapely.Geometry, grid: Grid) -> list[int]:
    """Tile numbers under a point or polygon in pixels (x is the column)."""
    if isinstance(place, shapely.Point):
        return _tile_at(place, grid)
    row_edges, col_edges = grid.cell_edges()
    left, top, right, bottom = shapely.bounds(place)
    rows, cols = _touched(row_edges, top, bottom), _touched(col_edges, left, right)
    r, c = (a.ravel() for a in np.meshgrid(rows, cols, indexing="ij"))
    cells = shapely.box(col_edges[c], row_edges[r], col_edges[c + 1], row_edges[r + 1])
    covered = shapely.area(shapely.intersection(cells, place)) / shapely.area(cells)
    mostly = covered >= MOSTLY
    if mostly.any():
        return [int(t) for t in (r * grid.shape[1] + c)[mostly]]
    return _tile_at(shapely.point_on_surface(place), grid)


def _touched(edges: NDArray[np.int64], low: float, high: float) -> NDArray[np.int64]:
    """Numbers of the cells of one axis that the range from `low` to `high` touches."""
    first, last = np.searchsorted(edges, [low, high], side="right") - 1
    return np.arange(max(first, 0), min(last, len(edges) - 2) + 1)


def _tile_at(point: shapely.Geometry, grid: Grid) -> list[int]:
    row_edges, col_edges = grid.cell_edges()
    col, row = shapely.get_x(point), shapely.get_y(point)
    if not (0 <= row <= row_edges[-1] and 0 <= col <= col_edges[-1]):
        return []
    r = min(int(np.searchsorted(row_edges, row, side="right")) - 1, grid.shape[0] - 1)
    c = min(int(np.searchsorted(col_edges, col, side="right")) - 1, grid.shape[1] - 1)
    return [r * grid.shape[1] + c]
