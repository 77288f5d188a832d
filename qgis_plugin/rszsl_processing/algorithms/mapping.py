"""What Map classes and Map a folder of scenes share: their options and checks."""

from __future__ import annotations

from typing import Any

from qgis.core import QgsCoordinateReferenceSystem, QgsGeometry, QgsProcessingContext

from rszsl_processing.algorithms.base import Parameters, RszslAlgorithm
from rszsl_processing.bridge import settings
from rszsl_processing.bridge.areas import Area
from rszsl_processing.bridge.parameters import (
    DEFAULT_MODEL,
    advanced_parameters,
    area_parameters,
    class_parameters,
    run_parameters,
)
from rszsl_processing.core.classes import chosen_classes, split_classes
from rszsl_processing.core.command import MapSettings, check_bands, check_range
from rszsl_processing.core.errors import PluginError
from rszsl_processing.core.version import checked_version


class MappingAlgorithm(RszslAlgorithm):
    """An algorithm that runs `rszsl map`."""

    raster_crs: QgsCoordinateReferenceSystem | None = None
    """In which an extent is meant that names no CRS, as on a command line."""

    def add_shared_parameters(self) -> None:
        """All but the input and the output."""
        for definition in class_parameters() + area_parameters() + run_parameters() + advanced_parameters():
            self.addParameter(definition)

    def check(self, parameters: Parameters, context: QgsProcessingContext) -> None:
        """Check the class list, the area, and the texts that hold numbers."""
        file = self.parameterAsFile(parameters, "CLASSES_FILE", context)
        chosen_classes(self.text(parameters, "CLASSES", context), file)
        if _given(parameters, "AOI") and _given(parameters, "EXTENT"):
            raise PluginError("Give either an area of interest or an extent, not both")
        check_bands(self.text(parameters, "BANDS", context))
        check_range(self.text(parameters, "RANGE", context))
        if _given(parameters, "GSD") and self.parameterAsDouble(parameters, "GSD", context) <= 0:
            raise PluginError("the pixel size (GSD) must be above 0 metres; leave it empty to have it measured")

    def ready_executable(self) -> str:
        """The command, after a look at its version.

        Raises:
            PluginError: where it is missing, broken or too old.
        """
        executable = settings.executable()
        checked_version(executable, settings.environment_for(executable))
        return executable

    def area(self, parameters: Parameters, context: QgsProcessingContext) -> Area | None:
        """The area of interest, or None for all of the scene.

        Raises:
            PluginError: where it holds nothing.
        """
        transforms = context.transformContext()
        if _given(parameters, "AOI"):
            source = self.parameterAsSource(parameters, "AOI", context)
            if source is None:
                raise PluginError("the area of interest cannot be read")
            return Area([feature.geometry() for feature in source.getFeatures()], source.sourceCrs(), transforms)
        if _given(parameters, "EXTENT"):
            crs = self.parameterAsExtentCrs(parameters, "EXTENT", context)
            if not crs.isValid() and self.raster_crs is not None:
                crs = self.raster_crs
            box = self.parameterAsExtent(parameters, "EXTENT", context)
            return Area([QgsGeometry.fromRect(box)] if not box.isEmpty() else [], crs, transforms)
        return None

    def map_settings(self, parameters: Parameters, context: QgsProcessingContext, aoi_path: str) -> MapSettings:
        """The options of the command."""
        file = self.parameterAsFile(parameters, "CLASSES_FILE", context)
        names = [] if file else split_classes(self.text(parameters, "CLASSES", context))
        text = {name: self.text(parameters, name.upper(), context) for name in ("bands", "range")}
        options: dict[str, str | None] = {
            "model": self.model_name(parameters, context),
            "device": self.parameterAsEnumString(parameters, "DEVICE", context),
            "aoi": aoi_path,
            "crs": self._crs(parameters, context),
            **{name: value.replace(" ", "") for name, value in text.items()},
        }
        for name in ("MIN_CONFIDENCE", "OVERLAP", "MIN_VALID", "GSD"):
            options[name.lower().replace("_", "-")] = self._number(parameters, name, context)
        if _given(parameters, "BATCH_SIZE"):
            options["batch-size"] = str(self.parameterAsInt(parameters, "BATCH_SIZE", context))
        return MapSettings(names, file, options)

    def model_name(self, parameters: Parameters, context: QgsProcessingContext) -> str:
        """The model, by its name or folder."""
        return self.text(parameters, "MODEL", context) or DEFAULT_MODEL

    def _number(self, parameters: Parameters, name: str, context: QgsProcessingContext) -> str | None:
        return f"{self.parameterAsDouble(parameters, name, context):.12g}" if _given(parameters, name) else None

    def _crs(self, parameters: Parameters, context: QgsProcessingContext) -> str:
        if not _given(parameters, "CRS"):
            return ""
        crs = self.parameterAsCrs(parameters, "CRS", context)
        return (crs.authid() or crs.toWkt()) if crs.isValid() else ""


def _given(parameters: dict[str, Any], name: str) -> bool:
    return parameters.get(name) not in (None, "")
