"""Areas of interest: the polygons of a vector file, in the scene's CRS."""

from pathlib import Path

import shapely
from pyproj import CRS

from rszsl.errors import AoiError
from rszsl.scene.vector import read_vector, to_crs

WHAT = "the area of interest"


def read_aoi(path: Path, crs: CRS) -> shapely.Geometry:
    """Read all polygons of a vector file as one geometry in `crs`.

    Raises:
        AoiError: where the file cannot be read, has no CRS, or holds no polygon.
    """
    frame = read_vector(path, WHAT, AoiError)
    polygons = frame[frame.geometry.geom_type.isin(["Polygon", "MultiPolygon"])]
    if polygons.empty or polygons.is_empty.all():
        raise AoiError(f"{WHAT} {path} holds no polygon")
    projected = to_crs(polygons, crs, path, WHAT, AoiError)
    return shapely.union_all(shapely.make_valid(projected.geometry.to_numpy()))
