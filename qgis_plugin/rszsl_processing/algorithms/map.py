"""Map classes: `rszsl map` on one raster layer."""

from __future__ import annotations

import re
import tempfile
from dataclasses import replace
from pathlib import Path

from qgis.core import (
    QgsProcessingContext,
    QgsProcessingFeedback,
    QgsProcessingParameterFileDestination,
    QgsProcessingParameterRasterLayer,
)

from rszsl_processing.algorithms.base import Parameters, given
from rszsl_processing.algorithms.mapping import MappingAlgorithm
from rszsl_processing.algorithms.outputs import add_map_outputs, map_outputs, new_file
from rszsl_processing.bridge.areas import Area
from rszsl_processing.bridge.cards import model_gsd_m
from rszsl_processing.bridge.parameters import class_parameters, example_parameters, helped, refine_parameter
from rszsl_processing.bridge.runner import Runner
from rszsl_processing.bridge.sources import Picture, scene_of
from rszsl_processing.core.command import map_command
from rszsl_processing.core.errors import PluginError
from rszsl_processing.core.gdal_strings import is_connection, without_provider
from rszsl_processing.core.record import set_option
from rszsl_processing.core.staging import cache_file

PLACEHOLDER = str(Path(__file__).parents[1] / "bridge" / "placeholder.vrt")
NO_AREA = "is no file: choose an area of interest or an extent, for which it is exported first"


class MapAlgorithm(MappingAlgorithm):
    """One scene in, one styled GeoPackage out."""

    NAME, TITLE = "map", "Map classes"
    SHORT = "Finds what you name in a raster, without training"
    TAGS = ("zero-shot", "classify", "classification", "land cover", "label", "tiles", "deep learning", "clip")
    HELP = (
        "Tiles a georeferenced raster, labels each tile with one of the classes that you name, and writes polygons "
        "with calibrated confidences. No class needs training examples.\n\nThe GeoPackage holds regions (adjacent "
        "tiles of one class), tiles, and the record of the run. Tiles that look like none of the classes are other."
        "\n\nrszsl runs as a program of its own. If it is not installed yet, run Install or update rszsl."
    )

    def __init__(self) -> None:
        super().__init__()
        self._scene: str | None = None
        self._picture: Picture | None = None

    def initAlgorithm(self, configuration: Parameters | None = None) -> None:
        """Declare parameters and outputs."""
        source = QgsProcessingParameterRasterLayer("INPUT", "Raster")
        about = "A raster layer, a file, or a GDAL string (GPKG:file.gpkg:table, /vsicurl/https://…, gdal://…)."
        self.addParameter(helped(source, about + " Layers that are no files (WMS, XYZ, virtual) are exported first."))
        for definition in class_parameters() + example_parameters():
            self.addParameter(definition)
        self.add_shared_parameters()
        self.addParameter(refine_parameter())
        cache = QgsProcessingParameterFileDestination("CACHE", "Cache", "rszsl cache (*)", None, True, False)
        about = (
            "File that keeps what the model said of every tile, for Relabel from cache and Find similar tiles. One "
            "that is there already is used in place of the model, where raster, model and tiles are the same."
        )
        self.addParameter(helped(cache, about))
        add_map_outputs(self)

    def checkParameterValues(self, parameters: Parameters, context: QgsProcessingContext) -> tuple[bool, str]:
        """As QGIS does, which takes a GDAL string for a missing file: another raster stands in for it here."""
        value = parameters.get("INPUT")
        named = isinstance(value, str) and is_connection(value)
        if named and self.parameterAsRasterLayer(parameters, "INPUT", context) is None:
            parameters = {**parameters, "INPUT": PLACEHOLDER}
        return super().checkParameterValues(parameters, context)

    def check(self, parameters: Parameters, context: QgsProcessingContext) -> None:
        """Check also that a layer which is no file comes with an area."""
        super().check(parameters, context)
        layer = self.parameterAsRasterLayer(parameters, "INPUT", context)
        if layer is not None and scene_of(layer) is None and not (parameters.get("AOI") or parameters.get("EXTENT")):
            raise PluginError(f"the layer {layer.name()} {NO_AREA}")

    def prepareAlgorithm(
        self, parameters: Parameters, context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> bool:
        """In the main thread: take from the layer what the run needs."""
        layer = self.parameterAsRasterLayer(parameters, "INPUT", context)
        if layer is None:
            self._scene = without_provider(self.text(parameters, "INPUT", context))
            return bool(self._scene)
        self.raster_crs = layer.crs()
        self._scene = scene_of(layer)
        if self._scene is None:
            self._picture = Picture(layer, context.transformContext())
        return True

    def work(
        self, parameters: Parameters, context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> Parameters:
        """Export what must be, run the command, put the results in their places, have the map loaded."""
        destination = self.parameterAsOutputLayer(parameters, "OUTPUT", context)
        named = self.parameterAsFileOutput(parameters, "CACHE", context) if given(parameters, "CACHE") else ""
        with cache_file(named) as cache, new_file(context, destination) as (made, target):
            with tempfile.TemporaryDirectory(prefix="rszsl-") as scratch:
                command = self._command(parameters, context, feedback, Path(scratch), made, cache)
                staged = {made.parent: target.parent}
                if cache:
                    staged[Path(cache).parent] = Path(named).absolute().parent
                Runner(feedback, staged=staged).run(command, may_fail_in_part=True)
            if cache and made.is_file():
                set_option(made, "cache", str(Path(named).absolute()))
        return {**map_outputs(context, target, destination), **({"CACHE": named} if named else {})}

    def _command(
        self,
        parameters: Parameters,
        context: QgsProcessingContext,
        feedback: QgsProcessingFeedback,
        scratch: Path,
        made: Path,
        cache: str,
    ) -> list[str]:
        executable = self.ready_executable()
        area = self.area(parameters, context)
        settings = self.map_settings(parameters, context, feedback, scratch, area)
        options = {**settings.options, "cache": cache}
        scene = self._scene
        if scene is None:
            scene = self._export(parameters, context, feedback, scratch, area, executable)
            options["gsd"] = None  # the export has it
        return map_command(executable, scene, str(made), replace(settings, options=options))

    def _export(
        self,
        parameters: Parameters,
        context: QgsProcessingContext,
        feedback: QgsProcessingFeedback,
        scratch: Path,
        area: Area | None,
        executable: str,
    ) -> str:
        if self._picture is None or area is None:
            raise PluginError(f"the layer {NO_AREA}")
        gsd_m = self.parameterAsDouble(parameters, "GSD", context) if parameters.get("GSD") else 0.0
        gsd_m = gsd_m or model_gsd_m(executable, self.model_name(parameters, context))
        path = str(scratch / (re.sub(r"[^\w.-]+", "_", self._picture.name) + ".tif"))
        self._picture.export(area.bounds_in(self._picture.crs), gsd_m, path, feedback)
        return path
