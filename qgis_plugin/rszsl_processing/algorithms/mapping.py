"""What Map classes and Map a folder of scenes share: area, bands, pixels and tiles."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from qgis.core import QgsCoordinateReferenceSystem, QgsGeometry, QgsProcessingContext, QgsProcessingFeedback

from rszsl_processing.algorithms.base import Parameters, given
from rszsl_processing.algorithms.labelling import LabellingAlgorithm
from rszsl_processing.bridge.areas import Area
from rszsl_processing.bridge.parameters import (
    DEFAULT_MODEL,
    advanced_parameters,
    area_parameters,
    confidence_parameter,
    device_parameter,
    model_parameter,
)
from rszsl_processing.bridge.vectors import crs_name
from rszsl_processing.core.command import MapSettings, check_bands, check_range
from rszsl_processing.core.errors import PluginError


class MappingAlgorithm(LabellingAlgorithm):
    """An algorithm that reads scenes."""

    raster_crs: QgsCoordinateReferenceSystem | None = None
    """In which an extent is meant that names no CRS, as on a command line."""

    def add_shared_parameters(self) -> None:
        """All but what is mapped, the classes and the output."""
        run = [model_parameter(), confidence_parameter(), device_parameter()]
        for definition in area_parameters() + run + advanced_parameters():
            self.addParameter(definition)

    def check(self, parameters: Parameters, context: QgsProcessingContext) -> None:
        """Check also the area, and the texts that hold numbers."""
        super().check(parameters, context)
        if given(parameters, "AOI") and given(parameters, "EXTENT"):
            raise PluginError("Give either an area of interest or an extent, not both")
        check_bands(self.text(parameters, "BANDS", context))
        check_range(self.text(parameters, "RANGE", context))
        if given(parameters, "GSD") and self.parameterAsDouble(parameters, "GSD", context) <= 0:
            raise PluginError("the pixel size (GSD) must be above 0 metres; leave it empty to have it measured")

    def area(self, parameters: Parameters, context: QgsProcessingContext) -> Area | None:
        """The area of interest, or None for all of the scene.

        Raises:
            PluginError: where it holds nothing.
        """
        transforms = context.transformContext()
        if given(parameters, "AOI"):
            source = self.parameterAsSource(parameters, "AOI", context)
            if source is None:
                raise PluginError("the area of interest cannot be read")
            return Area([feature.geometry() for feature in source.getFeatures()], source.sourceCrs(), transforms)
        if given(parameters, "EXTENT"):
            crs = self.parameterAsExtentCrs(parameters, "EXTENT", context)
            if not crs.isValid() and self.raster_crs is not None:
                crs = self.raster_crs
            box = self.parameterAsExtent(parameters, "EXTENT", context)
            return Area([QgsGeometry.fromRect(box)] if not box.isEmpty() else [], crs, transforms)
        return None

    def map_settings(
        self,
        parameters: Parameters,
        context: QgsProcessingContext,
        feedback: QgsProcessingFeedback,
        scratch: Path,
        area: Area | None,
    ) -> MapSettings:
        """The options of the command; area and examples are written into the folder `scratch`.

        Raises:
            PluginError: where one of them holds nothing.
        """
        labels = self.label_settings(parameters, context, feedback, scratch)
        options: dict[str, str | bool | None] = {"aoi": None, "crs": self._crs(parameters, context)}
        if area is not None:
            options["aoi"] = str(scratch / "aoi.gpkg")
            area.write(str(options["aoi"]))
        for name in ("BANDS", "RANGE"):
            options[name.lower()] = self.text(parameters, name, context).replace(" ", "")
        for name in ("OVERLAP", "MIN_VALID", "GSD"):
            options[name.lower().replace("_", "-")] = self.number(parameters, name, context)
        if given(parameters, "BATCH_SIZE"):
            options["batch-size"] = str(self.parameterAsInt(parameters, "BATCH_SIZE", context))
        options["views"] = self.parameterAsEnumString(parameters, "VIEWS", context)
        return replace(labels, options={**labels.options, **options})

    def model_name(self, parameters: Parameters, context: QgsProcessingContext) -> str:
        """The model, by its name or folder; the bundled one where none is named."""
        return super().model_name(parameters, context) or DEFAULT_MODEL

    def _crs(self, parameters: Parameters, context: QgsProcessingContext) -> str:
        return crs_name(self.parameterAsCrs(parameters, "CRS", context)) if given(parameters, "CRS") else ""
