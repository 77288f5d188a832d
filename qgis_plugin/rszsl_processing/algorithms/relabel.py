"""Relabel from cache: `rszsl relabel`."""

from __future__ import annotations

import tempfile
from pathlib import Path

from qgis.core import QgsProcessingContext, QgsProcessingFeedback

from rszsl_processing.algorithms.base import Parameters
from rszsl_processing.algorithms.labelling import LabellingAlgorithm
from rszsl_processing.algorithms.outputs import add_map_outputs, map_outputs, new_file
from rszsl_processing.bridge.parameters import (
    cache_parameter,
    class_parameters,
    confidence_parameter,
    device_parameter,
    example_parameters,
    model_of_cache_parameter,
    refine_parameter,
)
from rszsl_processing.bridge.runner import Runner
from rszsl_processing.core.command import relabel_command


class RelabelAlgorithm(LabellingAlgorithm):
    """A cache in, a styled GeoPackage out; the scene is not read."""

    NAME, TITLE = "relabel", "Relabel from cache"
    SHORT = "Maps a scene again with other classes, in seconds, from what the model said of it before"
    TAGS = ("zero-shot", "classification", "land cover", "cache", "again", "classes")
    HELP = (
        "Labels the tiles of a cache with other classes, examples or another minimum confidence. The cache holds what "
        "the model said of every tile: Map classes writes it where you name a file under Cache. The raster itself is "
        "not read, and may be gone.\n\nThe result is the same as a new map with these classes."
    )

    def initAlgorithm(self, configuration: Parameters | None = None) -> None:
        """Declare parameters and outputs."""
        about_labels = [*class_parameters(), *example_parameters(), confidence_parameter(), device_parameter()]
        for definition in (cache_parameter(), *about_labels, refine_parameter(), model_of_cache_parameter()):
            self.addParameter(definition)
        add_map_outputs(self)

    def check(self, parameters: Parameters, context: QgsProcessingContext) -> None:
        """Check also that the cache is there."""
        super().check(parameters, context)
        self.cache_that_is_there(parameters, context)

    def work(
        self, parameters: Parameters, context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> Parameters:
        """Run the command."""
        destination = self.parameterAsOutputLayer(parameters, "OUTPUT", context)
        with tempfile.TemporaryDirectory(prefix="rszsl-") as scratch, new_file(context, destination) as (made, target):
            executable, cache = self.ready_executable(), self.cache_that_is_there(parameters, context)
            settings = self.label_settings(parameters, context, feedback, Path(scratch))
            runner = Runner(feedback, staged={made.parent: target.parent})
            runner.run(relabel_command(executable, cache, str(made), settings), may_fail_in_part=True)
        return map_outputs(context, target, destination)
