"""The reader of vector files that a user gives beside a scene, in the scene's CRS."""

from pathlib import Path

import geopandas as gpd
import pyogrio.errors
from pyproj import CRS
from pyproj.exceptions import ProjError

from rszsl.errors import RszslError

PARTS = 100
"""Into how many pieces the layer's longer side is cut, at least, before it is reprojected."""


def read_vector(path: Path, what: str, error: type[RszslError]) -> gpd.GeoDataFrame:
    """Read the first layer of a vector file.

    Args:
        path: any file that GDAL reads.
        what: how messages call it, as "the area of interest".
        error: which error to raise.

    Raises:
        RszslError: of the kind `error`, where the file cannot be read or has no CRS.
    """
    try:
        frame = gpd.read_file(path)
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError, OSError) as err:
        raise error(f"cannot read {what} {path}: {err}; give a vector file") from err
    if not isinstance(frame, gpd.GeoDataFrame) or frame.crs is None:
        raise error(f"{what} {path} has no CRS; assign one (for instance with ogr2ogr -a_srs)")
    return frame


def to_crs(frame: gpd.GeoDataFrame, crs: CRS, path: Path, what: str, error: type[RszslError]) -> gpd.GeoDataFrame:
    """Bring geometries to `crs`; edges are densified first, so that a straight edge stays where it is on the ground.

    Raises:
        RszslError: of the kind `error`, where there is no way to that CRS.
    """
    if CRS.from_user_input(frame.crs) == crs:
        return frame
    left, bottom, right, top = frame.total_bounds
    longer = max(right - left, top - bottom)
    if longer > 0:
        frame = frame.set_geometry(frame.geometry.segmentize(longer / PARTS))
    try:
        return frame.to_crs(crs)
    except ProjError as err:
        raise error(f"cannot bring {what} {path} to {crs.name}: {err}") from err
