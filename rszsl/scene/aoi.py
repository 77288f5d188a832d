"""Areas of interest: the polygons of a vector file, in the scene's CRS."""

from pathlib import Path

import geopandas as gpd
import pyogrio.errors
import shapely
from pyproj import CRS
from pyproj.exceptions import ProjError

from rszsl.errors import AoiError


def read_aoi(path: Path, crs: CRS) -> shapely.Geometry:
    """Read all polygons of a vector file as one geometry in `crs`.

    Edges are densified before they are reprojected, so that a straight edge stays where it is on the ground.

    Raises:
        AoiError: where the file cannot be read, has no CRS, or holds no polygon.
    """
    try:
        frame = gpd.read_file(path)
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError, OSError) as err:
        raise AoiError(f"cannot read the area of interest {path}: {err}; give a vector file of polygons") from err
    if not isinstance(frame, gpd.GeoDataFrame) or frame.crs is None:
        raise AoiError(f"the area of interest {path} has no CRS; assign one (for instance with ogr2ogr -a_srs)")
    polygons = frame.geometry[frame.geometry.geom_type.isin(["Polygon", "MultiPolygon"])]
    if polygons.empty or polygons.is_empty.all():
        raise AoiError(f"the area of interest {path} holds no polygon")
    if CRS.from_user_input(polygons.crs) != crs:
        left, bottom, right, top = polygons.total_bounds
        polygons = polygons.segmentize(max(right - left, top - bottom) / 100)
        try:
            polygons = polygons.to_crs(crs)
        except ProjError as err:
            raise AoiError(f"cannot bring the area of interest {path} to {crs.name}: {err}") from err
    return shapely.union_all(shapely.make_valid(polygons.to_numpy()))
