"""Runs in QGIS's Python: `inside_qgis.py SCENARIO JSON` prints what happened as JSON, for tests/test_qgis_plugin.py."""

import json
import sys
import threading
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / "qgis_plugin"), "/usr/share/qgis/python/plugins"]

from qgis.core import (  # noqa: E402
    QgsApplication,
    QgsFeature,
    QgsGeometry,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeatureSourceDefinition,
    QgsProcessingFeedback,
    QgsProcessingModelAlgorithm,
    QgsProcessingModelChildAlgorithm,
    QgsProcessingModelChildParameterSource,
    QgsProcessingModelOutput,
    QgsProcessingModelParameter,
    QgsProcessingParameterRasterLayer,
    QgsProcessingParameterString,
    QgsProject,
    QgsRasterLayer,
    QgsVectorLayer,
)


class Listener(QgsProcessingFeedback):
    """Keeps what it is told."""

    def __init__(self):
        super().__init__(False)
        self.said = {"info": [], "warning": [], "error": [], "console": [], "text": []}
        self.steps = []
        self.progressChanged.connect(self.steps.append)

    def pushInfo(self, text):
        self.said["info"].append(text)

    def pushWarning(self, text):
        self.said["warning"].append(text)

    def pushConsoleInfo(self, text):
        self.said["console"].append(text)

    def setProgressText(self, text):
        self.said["text"].append(text)

    def reportError(self, text, fatalError=False):
        self.said["error"].append(text)


def run(parameters, algorithm="rszsl:map", context=None, feedback=None):
    """Check and run as the toolbox does; gives results, failure, and what the feedback heard."""
    feedback = feedback or Listener()
    context = context or QgsProcessingContext()
    context.setFeedback(feedback)
    found = QgsApplication.processingRegistry().createAlgorithmById(algorithm)
    fine, message = found.checkParameterValues(parameters, context)
    if not fine:
        return {"refused": message}
    try:
        results, fine = found.run(parameters, context, feedback, {}, False)
    except QgsProcessingException as err:
        return {"failed": str(err), **feedback.said}
    return {"results": results, "fine": fine, "steps": feedback.steps, **feedback.said}


def imports(_):
    return [name for name in ("torch", "rasterio", "rszsl", "numpy") if name in sys.modules]


def checks(cases):
    return [run(case) for case in cases]


def plain(parameters):
    return run(parameters)


def batch(parameters):
    return run(parameters, "rszsl:batch")


def cancel(parameters):
    feedback = Listener()
    pids = Path(parameters.pop("PIDS"))
    times = {}

    def stop():
        while not (pids.exists() and pids.read_text()):
            time.sleep(0.02)
        time.sleep(0.2)
        times["stopped"] = time.monotonic()
        feedback.cancel()

    threading.Thread(target=stop, daemon=True).start()
    answer = run(parameters, feedback=feedback)
    return {**answer, "took_s": time.monotonic() - times["stopped"]}


def project(parameters):
    """As the toolbox: both layers in the project, one of them looked at closely."""
    import processing

    processing.runAndLoadResults("rszsl:map", parameters, feedback=Listener())
    root = QgsProject.instance().layerTreeRoot()
    (group,) = root.findGroups()
    layers = [node.layer() for node in group.findLayers()]
    regions = layers[0]
    return {
        "group": group.name(), "top": [node.name() for node in root.children()],
        "layers": [layer.name() for layer in layers],
        "renderers": [layer.renderer().type() for layer in layers],
        "classes": [c.value() for c in regions.renderer().categories()],
        "labels": regions.labelsEnabled(), "abstract": regions.metadata().abstract(),
    }  # fmt: skip


def selection(parameters):
    """Polygons in a memory layer in longitude and latitude, of which one is selected."""
    layer = QgsVectorLayer("Polygon?crs=EPSG:4326", "areas", "memory")
    for wkt in parameters.pop("POLYGONS"):
        feature = QgsFeature()
        feature.setGeometry(QgsGeometry.fromWkt(wkt))
        layer.dataProvider().addFeature(feature)
    QgsProject.instance().addMapLayer(layer)
    context = QgsProcessingContext()
    context.setProject(QgsProject.instance())
    source = QgsProcessingFeatureSourceDefinition(layer.id(), True)
    nothing = run({**parameters, "AOI": source}, context=context)
    layer.selectByIds([1])
    return {"nothing": nothing, "one": run({**parameters, "AOI": source}, context=context)}


def layer_of(parameters):
    """A layer of a provider that is not GDAL."""
    layer = QgsRasterLayer(parameters.pop("URI"), "tuiles du ciel", parameters.pop("PROVIDER"))
    if not layer.isValid():
        sys.exit(f"no layer: {layer.error().message()}")
    QgsProject.instance().addMapLayer(layer)
    context = QgsProcessingContext()
    context.setProject(QgsProject.instance())
    parameters["INPUT"] = layer.id()
    return {"without_area": run({**parameters, "EXTENT": None}, context=context), **run(parameters, context=context)}


def model(parameters):
    """Write a model with Map classes and, on its regions, the centroids of QGIS."""
    made = QgsProcessingModelAlgorithm("chain", "tests")
    made.addModelParameter(QgsProcessingParameterRasterLayer("scene", "Scene"), QgsProcessingModelParameter("scene"))
    made.addModelParameter(QgsProcessingParameterString("names", "Classes"), QgsProcessingModelParameter("names"))
    source = QgsProcessingModelChildParameterSource
    first = QgsProcessingModelChildAlgorithm("rszsl:map")
    first.setChildId("map")
    for name, value in {
        "INPUT": source.fromModelParameter("scene"), "CLASSES": source.fromModelParameter("names"),
        "MIN_CONFIDENCE": source.fromStaticValue(0), "DEVICE": source.fromStaticValue("cpu"),
    }.items():  # fmt: skip
        first.addParameterSources(name, [value])
    made.addChildAlgorithm(first)
    second = QgsProcessingModelChildAlgorithm("native:centroids")
    second.setChildId("points")
    second.addParameterSources("INPUT", [source.fromChildOutput("map", "REGIONS")])
    output = QgsProcessingModelOutput("points", "points")
    output.setChildId("points")
    output.setChildOutputName("OUTPUT")
    second.setModelOutputs({"points": output})
    made.addChildAlgorithm(second)
    return {"written": made.toFile(parameters["PATH"]), "problems": made.validateChildAlgorithm("map")[1]}


if __name__ == "__main__":
    QgsApplication.setPrefixPath("/usr", True)
    app = QgsApplication([], False)
    app.initQgis()
    from processing.core.Processing import Processing

    Processing.initialize()
    import rszsl_processing

    plugin = rszsl_processing.classFactory(None)
    plugin.initProcessing()
    answer = globals()[sys.argv[1]](json.loads(sys.argv[2]))
    print("ANSWER " + json.dumps(answer, default=str))
    plugin.unload()
    app.exitQgis()
