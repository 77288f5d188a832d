"""Features of QGIS, written as a GeoPackage for the command."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsCoordinateTransformContext,
    QgsFeature,
    QgsFields,
    QgsGeometry,
    QgsVectorFileWriter,
)

from rszsl_processing.bridge.compat import WRITER_OK
from rszsl_processing.core.errors import PluginError


class VectorFile:
    """A GeoPackage with one layer, open for writing."""

    def __init__(
        self,
        path: str,
        layer: str,
        fields: QgsFields,
        geometry_type: Any,
        crs: QgsCoordinateReferenceSystem,
        transforms: QgsCoordinateTransformContext,
    ) -> None:
        """Create the file.

        Raises:
            PluginError: where that fails.
        """
        self._layer, self._fields = layer, fields
        options = QgsVectorFileWriter.SaveVectorOptions()
        options.driverName, options.layerName = "GPKG", layer
        self._writer = QgsVectorFileWriter.create(path, fields, geometry_type, crs, transforms, options)
        self._judge(self._writer.hasError() == WRITER_OK)

    def add(self, rows: Iterable[tuple[QgsGeometry, list[Any]]]) -> None:
        """Write geometries with their attributes, and close the file.

        Raises:
            PluginError: where one cannot be written.
        """
        for geometry, attributes in rows:
            feature = QgsFeature(self._fields)
            feature.setGeometry(geometry)
            feature.setAttributes(attributes)
            self._judge(self._writer.addFeature(feature))
        self._judge(self._writer.flushBuffer())
        del self._writer

    def _judge(self, fine: bool) -> None:
        if not fine:
            raise PluginError(f"cannot write the layer {self._layer}: {self._writer.errorMessage()}")


def crs_name(crs: QgsCoordinateReferenceSystem) -> str:
    """A CRS for the command line: its code, or all of it where it has none; "" where it is none."""
    return (crs.authid() or crs.toWkt()) if crs.isValid() else ""
