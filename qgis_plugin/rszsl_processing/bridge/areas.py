"""The area of interest: a polygon source (or its selection) or an extent, written for `--aoi` in its own CRS."""

from __future__ import annotations

from collections.abc import Iterable

from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsCoordinateTransform,
    QgsCoordinateTransformContext,
    QgsCsException,
    QgsFields,
    QgsGeometry,
    QgsRectangle,
)

from rszsl_processing.bridge.compat import MULTI_POLYGON
from rszsl_processing.bridge.vectors import VectorFile
from rszsl_processing.core.errors import PluginError


class Area:
    """Polygons with their CRS."""

    def __init__(
        self,
        polygons: Iterable[QgsGeometry],
        crs: QgsCoordinateReferenceSystem,
        transforms: QgsCoordinateTransformContext,
    ) -> None:
        self._polygons = [g for g in polygons if not g.isNull() and not g.isEmpty()]
        self._crs, self._transforms = crs, transforms
        if not self._polygons:
            raise PluginError("the area of interest holds no polygon; if it is a selection, select some features first")
        if not crs.isValid():
            raise PluginError(
                "the area of interest has no CRS; set its layer's, or write an extent as x,x,y,y [EPSG:…]"
            )

    def bounds_in(self, crs: QgsCoordinateReferenceSystem) -> QgsRectangle:
        """Its bounding box in another CRS.

        Raises:
            PluginError: where it cannot be brought there.
        """
        box = QgsRectangle()
        for polygon in self._polygons:
            box.combineExtentWith(polygon.boundingBox())
        try:
            return QgsCoordinateTransform(self._crs, crs, self._transforms).transformBoundingBox(box)
        except QgsCsException as err:
            raise PluginError(f"cannot bring the area of interest to {crs.authid()}: {err}") from err

    def write(self, path: str) -> None:
        """Write the polygons as a GeoPackage.

        Raises:
            PluginError: where they cannot be written.
        """
        file = VectorFile(path, "aoi", QgsFields(), MULTI_POLYGON, self._crs, self._transforms)
        file.add((_multi(polygon), []) for polygon in self._polygons)


def _multi(polygon: QgsGeometry) -> QgsGeometry:
    whole = QgsGeometry(polygon)
    whole.convertToMultiType()
    return whole
