"""The provider `rszsl` of the Processing toolbox."""

from __future__ import annotations

from pathlib import Path

from qgis.core import QgsProcessingProvider
from qgis.PyQt.QtGui import QIcon

from rszsl_processing.algorithms import ALGORITHMS
from rszsl_processing.bridge import settings

ICON_PATH = str(Path(__file__).parent / "icon.svg")


class RszslProvider(QgsProcessingProvider):
    """Holds the algorithms and the setting."""

    def id(self) -> str:
        """Prefix of the algorithms' ids."""
        return "rszsl"

    def name(self) -> str:
        """Title in the toolbox."""
        return "rszsl"

    def longName(self) -> str:
        """Title with an explanation."""
        return "rszsl (zero-shot mapping of rasters)"

    def icon(self) -> QIcon:
        """The project's icon."""
        return QIcon(ICON_PATH)

    def svgIconPath(self) -> str:
        """The icon for the model designer."""
        return ICON_PATH

    def load(self) -> bool:
        """Register the setting, then the algorithms."""
        settings.register(self.name(), self.icon())
        self.refreshAlgorithms()
        return True

    def unload(self) -> None:
        """Take the setting away."""
        settings.unregister()

    def loadAlgorithms(self) -> None:
        """Add each algorithm."""
        for algorithm in ALGORITHMS:
            self.addAlgorithm(algorithm())

    def supportsNonFileBasedOutput(self) -> bool:
        """Results are GeoPackages: no memory layers, no databases."""
        return False

    def supportedOutputVectorLayerExtensions(self) -> list[str]:
        """GeoPackage alone holds two layers, their styles and the record."""
        return ["gpkg"]

    def defaultVectorFileExtension(self, hasGeometry: bool = True) -> str:
        """GeoPackage, whatever QGIS's default is."""
        return "gpkg"
