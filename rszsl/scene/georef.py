"""Where pixels lie: ground sampling distance in metres, and polygons of pixel boxes in the scene's CRS."""

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS, Geod, Transformer
from pyproj.exceptions import ProjError

from rszsl.errors import SceneError
from rszsl.scene.grid import Grid

WGS84 = CRS.from_epsg(4326)


@dataclass(frozen=True, slots=True)
class Gsd:
    """Ground sampling distance: metres on the ground from one row, or column, to the next."""

    row_m: float
    col_m: float

    @property
    def mean_m(self) -> float:
        """Geometric mean of both axes, metres."""
        return math.sqrt(self.row_m * self.col_m)


def measure_gsd(transform: Affine, crs: CRS, height_px: int, width_px: int) -> Gsd:
    """Measure the GSD at the scene's centre along the ellipsoid.

    This is the true ground distance in any CRS: degrees become metres, and the stretch of Web Mercator is undone.
    Only a CRS without a way to longitude and latitude falls back on its linear unit.

    Raises:
        SceneError: where neither gives a positive length.
    """
    row, col = height_px / 2, width_px / 2
    xs, ys = pixel_to_xy(transform, np.array([row, row + 1, row]), np.array([col, col, col + 1]))
    try:
        to_lonlat = Transformer.from_crs(crs, WGS84, always_xy=True)
        (lon, down_lon, right_lon), (lat, down_lat, right_lat) = to_lonlat.transform(xs, ys, errcheck=True)
        geod = Geod(ellps="WGS84")
        gsd = Gsd(geod.inv(lon, lat, down_lon, down_lat)[2], geod.inv(lon, lat, right_lon, right_lat)[2])
    except ProjError:
        unit_m = crs.axis_info[0].unit_conversion_factor if crs.axis_info else 1.0
        gsd = Gsd(math.hypot(transform.b, transform.e) * unit_m, math.hypot(transform.a, transform.d) * unit_m)
    if not (math.isfinite(gsd.row_m) and math.isfinite(gsd.col_m) and gsd.row_m > 0 and gsd.col_m > 0):
        raise SceneError(f"cannot measure the pixel size in metres from {transform!r}; give it with --gsd")
    return gsd


def cell_polygons(grid: Grid, transform: Affine) -> NDArray[np.object_]:
    """Polygons of all kept cells, in tile order.

    Corners come from integer pixel edges in float64, so neighbours share them to the bit.

    Returns:
        object (len(grid),) of shapely polygons in the scene's CRS.
    """
    row_edges, col_edges = grid.cell_edges()
    n_rows, n_cols = grid.shape
    cols, rows = np.meshgrid(col_edges.astype("float64"), row_edges.astype("float64"))
    xy = np.stack(pixel_to_xy(transform, rows, cols), axis=-1)
    upper_left, upper_right = xy[:-1, :-1], xy[:-1, 1:]
    lower_left, lower_right = xy[1:, :-1], xy[1:, 1:]
    rings = np.stack([upper_left, lower_left, lower_right, upper_right, upper_left], axis=2)
    return np.asarray(shapely.polygons(rings.reshape(n_rows * n_cols, 5, 2)))


def pixel_to_xy(
    transform: Affine, rows: NDArray[np.float64], cols: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Map pixel edges to CRS coordinates: `x = c + a * col + b * row`, `y = f + d * col + e * row`."""
    x = transform.c + transform.a * cols + transform.b * rows
    y = transform.f + transform.d * cols + transform.e * rows
    return x, y


def geodesic_areas_m2(polygons: NDArray[np.object_], crs: CRS) -> NDArray[np.float64]:
    """Areas on the WGS84 ellipsoid, in m2 (N,); planar areas where the CRS has no way to longitude and latitude."""
    try:
        to_lonlat = Transformer.from_crs(crs, WGS84, always_xy=True)
    except ProjError:
        unit_m = crs.axis_info[0].unit_conversion_factor if crs.axis_info else 1.0
        return np.asarray(shapely.area(polygons) * unit_m**2, dtype="float64")
    lonlat = shapely.transform(polygons, lambda xy: np.column_stack(to_lonlat.transform(xy[:, 0], xy[:, 1])))
    rings, owner = shapely.get_rings(lonlat, return_index=True)
    points, ring = shapely.get_coordinates(rings, return_index=True)
    ends = np.cumsum(np.bincount(ring, minlength=len(rings))).tolist()
    lon, lat, geod = points[:, 0].copy(), points[:, 1].copy(), Geod(ellps="WGS84")
    areas = [abs(geod.polygon_area_perimeter(lon[a:b], lat[a:b])[0]) for a, b in pairwise([0, *ends])]
    is_hole = np.diff(owner, prepend=-1) == 0
    signed = np.where(is_hole, -1.0, 1.0) * np.array(areas)
    return np.asarray(np.bincount(owner, weights=signed, minlength=len(lonlat)), dtype="float64")
