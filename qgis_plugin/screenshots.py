"""Take the pictures of docs/QGIS.md in the real QGIS: the dialog, then the map that its Run button made.

usage: SCENE=scene.tif OUT=docs/images QGIS_PLUGINPATH=qgis_plugin \
    xvfb-run -a -s "-screen 0 1400x1000x24" qgis --nologo --noversioncheck --code qgis_plugin/screenshots.py
needs: the plugin enabled (qgis_process plugins enable rszsl_processing) and rszsl where the plugin finds it
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import processing
from qgis.core import QgsProject, QgsRasterLayer
from qgis.PyQt.QtCore import QTimer
from qgis.PyQt.QtWidgets import QDockWidget
from qgis.utils import iface

CLASSES = "solar farm, forest, farmland, lake\nresidential area, quarry, industrial area"
OUT = Path(os.environ.get("OUT", "."))
SHOWN_DOCKS = ("Layers",)


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
    """Opens the dialog, presses Run, waits, and takes both pictures."""

    def open(self) -> None:
        """Load the scene and open the dialog."""
        layer = QgsRasterLayer(os.environ["SCENE"], Path(os.environ["SCENE"]).stem)
        QgsProject.instance().addMapLayer(layer)
        iface.mainWindow().resize(1400, 900)
        for dock in iface.mainWindow().findChildren(QDockWidget):
            dock.setVisible(dock.windowTitle() in SHOWN_DOCKS)
        wanted = {"INPUT": layer.id(), "CLASSES": CLASSES, "DEVICE": "cpu"}
        self.dialog = processing.createAlgorithmDialog("rszsl:map", wanted)
        self.dialog.resize(1000, 860)
        self.dialog.show()
        later(2000, self.run)

    def run(self) -> None:
        """Take the first picture and press Run."""
        self.dialog.grab().save(str(OUT / "qgis_dialog.png"))
        self.dialog.runButton().click()
        later(500, self.wait)

    def wait(self) -> None:
        """Look whether the layers are there."""
        names = [layer.name() for layer in QgsProject.instance().mapLayers().values()]
        later(4000 if "regions" in names else 500, self.show if "regions" in names else self.wait)

    def show(self) -> None:
        """Take the second picture."""
        self.dialog.close()
        root = QgsProject.instance().layerTreeRoot()
        for node in root.findLayers():
            node.setItemVisibilityChecked(node.name() != "tiles")
        iface.zoomToActiveLayer()
        later(3000, self.end)

    def end(self) -> None:
        """Leave without questions."""
        iface.mainWindow().grab().save(str(OUT / "qgis_result.png"))
        os._exit(0)


SESSION = Session()
later(4000, SESSION.open)
