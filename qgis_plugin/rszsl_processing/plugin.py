"""The plugin as QGIS knows it: it adds the provider, and takes it away."""

from __future__ import annotations

from typing import Any

from qgis.core import QgsApplication

from rszsl_processing.provider import RszslProvider


class RszslPlugin:
    """Works with a window (`initGui`) and without (`initProcessing` alone, as `qgis_process` calls it)."""

    def __init__(self, iface: Any) -> None:
        self._iface = iface
        self._provider: Any = None

    def initProcessing(self) -> None:
        """Add the provider."""
        self._provider = RszslProvider()
        QgsApplication.processingRegistry().addProvider(self._provider)

    def initGui(self) -> None:
        """Add the provider; there are no buttons."""
        self.initProcessing()

    def unload(self) -> None:
        """Take the provider away."""
        if self._provider is not None:
            QgsApplication.processingRegistry().removeProvider(self._provider)
            self._provider = None
