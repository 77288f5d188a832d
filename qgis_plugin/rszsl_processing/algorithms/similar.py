"""Find similar tiles: `rszsl search`."""

from __future__ import annotations

from pathlib import Path

from qgis.core import (
    QgsPointXY,
    QgsProcessingContext,
    QgsProcessingFeedback,
    QgsProcessingOutputNumber,
    QgsProcessingParameterFeatureSource,
    QgsProcessingParameterNumber,
    QgsProcessingParameterPoint,
    QgsProcessingParameterString,
    QgsProcessingParameterVectorDestination,
)

from rszsl_processing.algorithms.base import Parameters, RszslAlgorithm, given
from rszsl_processing.algorithms.outputs import new_file
from rszsl_processing.bridge import results
from rszsl_processing.bridge.compat import INTEGER, POINTS, POLYGONS
from rszsl_processing.bridge.parameters import cache_parameter, device_parameter, helped, model_of_cache_parameter
from rszsl_processing.bridge.runner import Runner
from rszsl_processing.bridge.vectors import crs_name
from rszsl_processing.core.command import search_command
from rszsl_processing.core.errors import PluginError
from rszsl_processing.core.record import SIMILAR, count_similar


class SimilarAlgorithm(RszslAlgorithm):
    """A cache and some places in, the tiles like them out."""

    NAME, TITLE = "similar", "Find similar tiles"
    SHORT = "Finds the tiles of a scene that look like those that you click on"
    TAGS = ("zero-shot", "search", "retrieval", "like", "example", "click", "cache")
    HELP = (
        "Finds the tiles of a cached scene that are most like the tile at a point that you click on, or like the mean "
        "of the tiles at several points of a layer; or the tiles that a text describes best.\n\nThe cache holds what "
        "the model said of every tile: Map classes writes it where you name a file under Cache.\n\nThe layer similar "
        "has the tiles with their rank and similarity (a cosine, 1 at most). The examples are among them."
    )

    def initAlgorithm(self, configuration: Parameters | None = None) -> None:
        """Declare parameters and outputs."""
        self.addParameter(cache_parameter())
        point = QgsProcessingParameterPoint("POINT", "Point on an example", "", True)
        self.addParameter(helped(point, "Click on a place: its tile is the example. As text: x,y [EPSG:…]."))
        points = QgsProcessingParameterFeatureSource("POINTS", "Layer of points on examples", [POINTS], None, True)
        about = "Several examples at once, any CRS: what is like their mean is found. Tick the box for the selection."
        self.addParameter(helped(points, about))
        text = QgsProcessingParameterString("TEXT", "Or: text", "", False, True)
        self.addParameter(helped(text, "In place of points: a name or a phrase."))
        top = QgsProcessingParameterNumber("TOP", "Number of tiles", INTEGER, 20, False, 1)
        self.addParameter(helped(top, "How many are listed, best first."))
        self.addParameter(device_parameter())
        self.addParameter(model_of_cache_parameter())
        output = QgsProcessingParameterVectorDestination("OUTPUT", "Similar tiles (GeoPackage)", POLYGONS)
        self.addParameter(helped(output, "GeoPackage with the layer similar."))
        self.addOutput(QgsProcessingOutputNumber("COUNT", "Tiles found"))

    def check(self, parameters: Parameters, context: QgsProcessingContext) -> None:
        """Check that there is a cache, and points or a text."""
        self.cache_that_is_there(parameters, context)
        clicked = given(parameters, "POINT") or given(parameters, "POINTS")
        if clicked == bool(self.text(parameters, "TEXT", context)):
            raise PluginError("Give either points or a text to search for")

    def work(
        self, parameters: Parameters, context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> Parameters:
        """Run the command."""
        destination = self.parameterAsOutputLayer(parameters, "OUTPUT", context)
        with new_file(context, destination) as (made, target):
            executable, cache = self.ready_executable(), self.cache_that_is_there(parameters, context)
            like, crs = self._examples(parameters, context)
            query = {"text": self.text(parameters, "TEXT", context), "like_crs": crs}
            options = {
                "top": str(self.parameterAsInt(parameters, "TOP", context)),
                "model": self.text(parameters, "MODEL", context),
                "device": self.parameterAsEnumString(parameters, "DEVICE", context),
            }
            runner = Runner(feedback, staged={made.parent: target.parent})
            runner.run(search_command(executable, cache, str(made), like=like, **query, **options))
        self._load(context, target, destination, Path(cache), query["text"] or f"tiles at {'; '.join(like)} {crs}")
        return {"OUTPUT": str(target), "COUNT": count_similar(str(target))}

    def _examples(self, parameters: Parameters, context: QgsProcessingContext) -> tuple[list[str], str]:
        """The points as `X,Y`, and their CRS, "" for that of the scene."""
        crs = self.parameterAsPointCrs(parameters, "POINT", context)
        points: list[QgsPointXY] = []
        if given(parameters, "POINTS"):
            source = self.parameterAsSource(parameters, "POINTS", context)
            if source is None or not source.sourceCrs().isValid():
                raise PluginError("the layer of points cannot be read or has no CRS; set its CRS")
            crs = source.sourceCrs()
            points = [QgsPointXY(v) for feature in source.getFeatures() for v in feature.geometry().vertices()]
            if not points:
                raise PluginError("the layer of points has none; if it is a selection, select some features first")
        if given(parameters, "POINT"):
            points.append(self.parameterAsPoint(parameters, "POINT", context, crs))
        return [f"{point.x():.12g},{point.y():.12g}" for point in points], crs_name(crs) if points else ""

    def _load(self, context: QgsProcessingContext, target: Path, destination: str, cache: Path, query: str) -> None:
        temporary = target.stem in results.TEMPORARY_NAMES
        title = f"{cache.stem}.{SIMILAR}" if temporary else target.stem
        record = f"cache: {cache}\nsearched for: {query.strip()}"
        results.load_on_completion(context, results.Shown(str(target), (SIMILAR,), title, record), destination)
