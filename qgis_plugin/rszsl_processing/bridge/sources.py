"""What a raster layer is to `rszsl`: a GDAL string that it opens itself, or a picture that QGIS has to export."""

from __future__ import annotations

from qgis.core import (
    QgsCoordinateTransformContext,
    QgsDistanceArea,
    QgsFeedback,
    QgsPointXY,
    QgsRasterBlockFeedback,
    QgsRasterFileWriter,
    QgsRasterLayer,
    QgsRasterPipe,
    QgsRectangle,
)

from rszsl_processing.bridge.compat import COLOUR_PICTURES, RASTER_WRITER_OK
from rszsl_processing.core.errors import Cancelled, PluginError
from rszsl_processing.core.gdal_strings import opened_by_rszsl
from rszsl_processing.core.sizes import export_size_px, size_warning


def scene_of(layer: QgsRasterLayer) -> str | None:
    """The GDAL string of a layer, or None where only QGIS can read it (WMS, XYZ, virtual, memory, PostGIS)."""
    if layer.providerType() != "gdal":
        return None
    return opened_by_rszsl(layer.source())


class Picture:
    """A layer that is no file. Made in the main thread (`prepareAlgorithm`), exported in any."""

    def __init__(self, layer: QgsRasterLayer, context: QgsCoordinateTransformContext) -> None:
        self.name, self.crs, self.extent = layer.name(), layer.crs(), layer.extent()
        self._transforms = context
        self._provider = layer.dataProvider().clone()
        drawn = layer.dataProvider().dataType(1) in COLOUR_PICTURES
        self._renderer = layer.renderer().clone() if drawn and layer.renderer() else None

    def export(self, area: QgsRectangle, gsd_m: float, path: str, feedback: QgsFeedback) -> None:
        """Write the part of the layer in `area` (in its CRS) as a GeoTIFF with pixels of `gsd_m` metres.

        Raises:
            PluginError: where the area misses the layer, is too large, or cannot be read.
        """
        part = QgsRectangle(area) if self.extent.isEmpty() else area.intersect(self.extent)
        width_m, height_m = self._size_m(part)
        columns, rows = export_size_px(width_m, height_m, gsd_m)
        # Whole pixels: the last column and row may reach over the area, so that a pixel is what was asked for.
        part.setXMaximum(part.xMinimum() + part.width() * columns * gsd_m / width_m)
        part.setYMinimum(part.yMaximum() - part.height() * rows * gsd_m / height_m)
        warning = size_warning(columns, rows)
        if warning:
            feedback.pushWarning(warning)
        feedback.pushInfo(f"exporting {columns} x {rows} pixels of {self.name} at {gsd_m:g} m")
        watch = QgsRasterBlockFeedback()
        feedback.canceled.connect(watch.cancel)
        writer = QgsRasterFileWriter(path)
        writer.setOutputFormat("GTiff")
        writer.setCreateOptions(["COMPRESS=DEFLATE", "TILED=YES", "BIGTIFF=IF_SAFER"])
        result = writer.writeRaster(self._pipe(), columns, rows, part, self.crs, self._transforms, watch)
        if feedback.isCanceled():
            raise Cancelled("cancelled while the layer was exported")
        if result != RASTER_WRITER_OK:
            raise PluginError(f"QGIS could not export the layer {self.name} (code {int(result)})")

    def _pipe(self) -> QgsRasterPipe:
        pipe = QgsRasterPipe()
        parts = [self._provider.clone()] + ([self._renderer.clone()] if self._renderer else [])
        for part in parts:
            if not pipe.set(part):
                raise PluginError(f"QGIS cannot read the layer {self.name}")
        return pipe

    def _size_m(self, part: QgsRectangle) -> tuple[float, float]:
        """Width and height on the ellipsoid, measured at the centre from short lines: 3857 stretches the north."""
        if part.isEmpty():
            return 0.0, 0.0
        measure = QgsDistanceArea()
        measure.setSourceCrs(self.crs, self._transforms)
        measure.setEllipsoid(self.crs.ellipsoidAcronym() or "EPSG:7030")
        centre, dx, dy = part.center(), part.width() / 100, part.height() / 100
        east, north = QgsPointXY(centre.x() + dx, centre.y()), QgsPointXY(centre.x(), centre.y() + dy)
        return measure.measureLine(centre, east) * 100, measure.measureLine(centre, north) * 100
