"""Render a GeoPackage of rszsl over its scene with the real QGIS, using only the styles that the file carries.

usage: QT_QPA_PLATFORM=offscreen /usr/bin/python3 docs/images/render_qgis.py SCENE GPKG OUT.png [LAYER]
needs: QGIS 3.22 or newer with its Python (Debian: qgis python3-qgis qgis-providers)
"""

import sys

from qgis.core import (
    QgsApplication,
    QgsMapRendererParallelJob,
    QgsMapSettings,
    QgsRasterLayer,
    QgsVectorLayer,
)
from qgis.PyQt.QtCore import QSize
from qgis.PyQt.QtGui import QColor

WIDTH_PX = 1200


def render(scene: str, gpkg: str, png: str, layer: str) -> None:
    """Draw the raster and one layer of the GeoPackage over it."""
    raster = QgsRasterLayer(scene, "scene")
    vector = QgsVectorLayer(f"{gpkg}|layername={layer}", layer, "ogr")
    for loaded in (raster, vector):
        if not loaded.isValid():
            sys.exit(f"QGIS cannot load {loaded.source()}")
    print(f"{layer}: {vector.featureCount()} features, renderer {vector.renderer().type()}")
    extent = raster.extent()
    settings = QgsMapSettings()
    settings.setLayers([vector, raster])
    settings.setDestinationCrs(raster.crs())
    settings.setExtent(extent)
    settings.setOutputSize(QSize(WIDTH_PX, round(WIDTH_PX * extent.height() / extent.width())))
    settings.setBackgroundColor(QColor("white"))
    job = QgsMapRendererParallelJob(settings)
    job.start()
    job.waitForFinished()
    if not job.renderedImage().save(png):
        sys.exit(f"cannot write {png}")


if __name__ == "__main__":
    app = QgsApplication([], False)
    app.initQgis()
    render(*sys.argv[1:4], sys.argv[4] if len(sys.argv) > 4 else "regions")
    app.exitQgis()
