"""Runs in QGIS's Python: `inside_qgis.py SCENARIO JSON` prints what happened as JSON, for tests/test_qgis_plugin.py."""

import json
import os
import sys
import threading
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / "qgis_plugin"), "/usr/share/qgis/python/plugins"]

from qgis.core import (  # noqa: E402
    QgsApplication,
    QgsFeature,
    QgsGeometry,
    QgsLayerTreeRegistryBridge,
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

SOURCE = QgsProcessingModelChildParameterSource


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


def run(parameters, context=None, feedback=None):
    """Check and run `ALGORITHM` as the toolbox does; gives results, failure, and what the feedback heard."""
    parameters, algorithm = dict(parameters), parameters.get("ALGORITHM", "rszsl:map")
    parameters.pop("ALGORITHM", None)
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


def declared(_):
    """What each algorithm says of itself and of its parameters."""
    made = {}
    for algorithm in QgsApplication.processingRegistry().providerById("rszsl").algorithms():
        made[algorithm.id()] = {
            "group": algorithm.group(), "tags": algorithm.tags(), "help": algorithm.shortHelpString(),
            "batch": bool(algorithm.flags() & algorithm.FlagSupportsBatch), "problem": algorithm.canExecute()[1],
            "parameters": {p.name(): p.help() for p in algorithm.parameterDefinitions()},
        }  # fmt: skip
    return made


def batch_mode(parameters):
    """Load rows into the real batch dialog and press Run; how many there were."""
    from processing.gui import BatchPanel
    from processing.gui.BatchAlgorithmDialog import BatchAlgorithmDialog
    from qgis.gui import QgsGui

    QgsGui.editorWidgetRegistry().initEditors()
    dialog = BatchAlgorithmDialog(QgsApplication.processingRegistry().createAlgorithmById(parameters["ALGORITHM"]))
    BatchPanel.QFileDialog.getOpenFileName = lambda *_: (parameters["ROWS"], "")
    dialog.mainWidget().load()
    dialog.mainWidget().checkLoadLayersOnCompletion.setChecked(False)
    dialog.runAlgorithm()
    return dialog.mainWidget().batchRowCount()


def cancel(parameters):
    """Cancel once the command has written half a result."""
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

    algorithm = parameters.pop("ALGORITHM", "rszsl:map")
    root = QgsProject.instance().layerTreeRoot()
    earlier = root.addGroup("an earlier run")  # where the layer that was active stands
    place = QgsLayerTreeRegistryBridge.InsertionPoint(earlier, 0)
    QgsProject.instance().layerTreeRegistryBridge().setLayerInsertionPoint(place)
    processing.runAndLoadResults(algorithm, parameters, feedback=Listener())
    (group,) = (found for found in root.findGroups() if found.name() != "an earlier run")
    layers = [node.layer() for node in group.findLayers()]
    regions = layers[0]
    by_class = regions.renderer().type() == "categorizedSymbol"
    return {
        "group": group.name(), "top": [node.name() for node in root.children()],
        "layers": [layer.name() for layer in layers],
        "renderers": [layer.renderer().type() for layer in layers],
        "classes": [c.value() for c in regions.renderer().categories()] if by_class else [],
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


def examples(parameters):
    """Places in a memory layer (WKT and class each, one may be selected), as the value of `WHAT`."""
    kind, what = parameters.pop("KIND"), parameters.pop("WHAT")
    layer = QgsVectorLayer(f"{kind}&field=Nutzung:string&field=nummer:integer", "orte", "memory")
    for wkt, name in parameters.pop("PLACES"):
        feature = QgsFeature(layer.fields())
        feature.setGeometry(QgsGeometry.fromWkt(wkt) if wkt else QgsGeometry())
        feature.setAttribute(0, name)
        feature.setAttribute(1, 7)
        layer.dataProvider().addFeature(feature)
    selected = parameters.pop("SELECTED", [])
    layer.selectByIds(selected)
    QgsProject.instance().addMapLayer(layer)
    context = QgsProcessingContext()
    context.setProject(QgsProject.instance())
    return run({**parameters, what: QgsProcessingFeatureSourceDefinition(layer.id(), bool(selected))}, context=context)


def layer_of(parameters):
    """A layer of a provider that is not GDAL, or one in memory."""
    if "IN_MEMORY" in parameters:
        from osgeo import gdal

        gdal.FileFromMemBuffer(parameters["URI"], Path(parameters.pop("IN_MEMORY")).read_bytes())
    layer = QgsRasterLayer(parameters.pop("URI"), "tuiles du ciel", parameters.pop("PROVIDER"))
    if not layer.isValid():
        sys.exit(f"no layer: {layer.error().message()}")
    QgsProject.instance().addMapLayer(layer)
    context = QgsProcessingContext()
    context.setProject(QgsProject.instance())
    parameters["INPUT"] = layer.id()
    return {"without_area": run({**parameters, "EXTENT": None}, context=context), **run(parameters, context=context)}


def step(algorithm, name, **sources):
    """A step of a model; a value that is no source is taken as it is."""
    made = QgsProcessingModelChildAlgorithm(algorithm)
    made.setChildId(name)
    for parameter, value in sources.items():
        made.addParameterSources(parameter, [value if isinstance(value, SOURCE) else SOURCE.fromStaticValue(value)])
    return made


def keep(child, output):
    """Make an output of a step one of the model."""
    kept = QgsProcessingModelOutput(child.childId(), child.childId())
    kept.setChildId(child.childId())
    kept.setChildOutputName(output)
    child.setModelOutputs({child.childId(): kept})


def model(parameters):
    """Write a model: Map classes with a cache, the centroids of its regions, Relabel from cache, Find similar tiles."""
    made = QgsProcessingModelAlgorithm("chain", "tests")
    made.addModelParameter(QgsProcessingParameterRasterLayer("scene", "Scene"), QgsProcessingModelParameter("scene"))
    for name in ("names", "others", "text"):
        made.addModelParameter(QgsProcessingParameterString(name, name), QgsProcessingModelParameter(name))
    scene, names, others, text = (SOURCE.fromModelParameter(name) for name in ("scene", "names", "others", "text"))
    common = {"MIN_CONFIDENCE": 0, "DEVICE": "cpu"}
    first = step("rszsl:map", "map", INPUT=scene, CLASSES=names, **common)
    keep_cache = QgsProcessingModelOutput("kept", "kept")
    keep_cache.setChildId("map")
    keep_cache.setChildOutputName("CACHE")
    first.setModelOutputs({"kept": keep_cache})
    cache = SOURCE.fromChildOutput("map", "CACHE")
    points = step("native:centroids", "points", INPUT=SOURCE.fromChildOutput("map", "REGIONS"))
    again = step("rszsl:relabel", "again", CACHE=cache, CLASSES=others, **common)
    like = step("rszsl:similar", "like", CACHE=cache, TEXT=text, TOP=3, DEVICE="cpu")
    for child in (points, again, like):
        keep(child, "OUTPUT")
    for child in (first, points, again, like):
        made.addChildAlgorithm(child)
    problems = [made.validateChildAlgorithm(name)[1] for name in ("map", "again", "like")]
    return {"written": made.toFile(parameters["PATH"]), "problems": [text for found in problems for text in found]}


if __name__ == "__main__":
    QgsApplication.setPrefixPath("/usr", True)
    app = QgsApplication([], sys.argv[1] == "batch_mode")
    app.initQgis()
    from processing.core.Processing import Processing

    Processing.initialize()
    import rszsl_processing

    plugin = rszsl_processing.classFactory(None)
    plugin.initProcessing()
    answer = globals()[sys.argv[1]](json.loads(sys.argv[2]))
    print("ANSWER " + json.dumps(answer, default=str), flush=True)
    if sys.argv[1] == "batch_mode":
        os._exit(0)  # QGIS 3.22 does not come to an end after its dialogs
    plugin.unload()
    app.exitQgis()
