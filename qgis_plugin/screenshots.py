"""Take the pictures of docs/QGIS.md in the real QGIS: the dialogs, and what their Run buttons made.

usage: SCENE=scene.tif LIKE="x,y [EPSG:…]" OUT=docs/images QGIS_PLUGINPATH=qgis_plugin \
    xvfb-run -a -s "-screen 0 1400x1000x24" qgis --nologo --noversioncheck --code qgis_plugin/screenshots.py
needs: the plugin enabled (qgis_process plugins enable rszsl_processing) and rszsl where the plugin finds it
"""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import processing
from qgis.core import QgsProject, QgsRasterLayer
from qgis.PyQt.QtCore import QTimer
from qgis.PyQt.QtWidgets import QDockWidget
from qgis.utils import iface

CLASSES = "solar farm, forest, farmland, lake\nresidential area, quarry, industrial area"
OTHERS = "parking lot, water, trees, bare ground"
LIKE = os.environ.get("LIKE", "")
OUT = Path(os.environ.get("OUT", "."))
WORK = Path(tempfile.mkdtemp())
CACHE = str(WORK / "demo.rszsl-cache")
SHOWN_DOCKS = ("Layers",)
JPEG_QUALITY = 88


def later(ms: int, step: Callable[[], None]) -> None:
    """Run a step from the event loop; an error ends QGIS."""

    def guarded() -> None:
        try:
            step()
        except Exception:
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)

    QTimer.singleShot(ms, guarded)


class Session:
    """Opens the dialogs, presses Run, waits, and takes the pictures."""

    def open(self) -> None:
        """Load the scene and open the dialog of Map classes."""
        layer = QgsRasterLayer(os.environ["SCENE"], Path(os.environ["SCENE"]).stem)
        QgsProject.instance().addMapLayer(layer)
        iface.mainWindow().resize(1400, 900)
        for dock in iface.mainWindow().findChildren(QDockWidget):
            dock.setVisible(dock.windowTitle() in SHOWN_DOCKS)
        wanted = {"INPUT": layer.id(), "CLASSES": CLASSES, "DEVICE": "cpu", "CACHE": CACHE}
        self._dialog("rszsl:map", {**wanted, "OUTPUT": str(WORK / "demo.gpkg")}, "qgis_dialog.png", "regions", 1000)

    def _dialog(self, algorithm: str, wanted: dict[str, Any], picture: str, layer: str, height_px: int = 620) -> None:
        """Show a dialog, take its picture, press Run, and wait for a layer."""
        self.dialog = processing.createAlgorithmDialog(algorithm, wanted)
        self.dialog.show()

        def fit() -> None:  # showing it brings back the size of the last one
            self.dialog.resize(1000, height_px)
            later(500, run)

        def run() -> None:
            self.dialog.grab().save(str(OUT / picture))
            self.dialog.runButton().click()
            later(500, wait)

        def wait() -> None:
            names = [found.name() for found in QgsProject.instance().mapLayers().values()]
            later(4000 if layer in names else 500, getattr(self, f"show_{layer}") if layer in names else wait)

        later(1500, fit)

    def show_regions(self) -> None:
        """Take the picture of the map; then open Find similar tiles."""
        self.dialog.close()
        for node in QgsProject.instance().layerTreeRoot().findLayers():
            node.setItemVisibilityChecked(node.name() != "tiles")
        iface.zoomToActiveLayer()

        def go_on() -> None:
            iface.mainWindow().grab().save(str(OUT / "qgis_result.jpg"), quality=JPEG_QUALITY)
            wanted = {"CACHE": CACHE, "POINT": LIKE, "TOP": 12, "DEVICE": "cpu", "OUTPUT": str(WORK / "similar.gpkg")}
            self._dialog("rszsl:similar", wanted, "qgis_similar.png", "similar")

        later(3000, go_on)

    def show_similar(self) -> None:
        """Take the picture of the tiles that were found, and that of Relabel from cache; leave without questions."""
        self.dialog.close()
        for node in QgsProject.instance().layerTreeRoot().findLayers():
            node.setItemVisibilityChecked(node.name() not in ("tiles", "regions"))

        def go_on() -> None:
            iface.mainWindow().grab().save(str(OUT / "qgis_similar_result.jpg"), quality=JPEG_QUALITY)
            wanted = {"CACHE": CACHE, "CLASSES": OTHERS, "OUTPUT": str(WORK / "other.gpkg")}
            self.dialog = processing.createAlgorithmDialog("rszsl:relabel", wanted)
            self.dialog.show()
            later(1500, fit)

        def fit() -> None:
            self.dialog.resize(1000, 860)
            later(500, end)

        def end() -> None:
            self.dialog.grab().save(str(OUT / "qgis_relabel.png"))
            os._exit(0)

        later(3000, go_on)


SESSION = Session()
later(4000, SESSION.open)
