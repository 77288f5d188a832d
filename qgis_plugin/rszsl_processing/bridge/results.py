"""Results into the project: their layers with the file's own styles, in a group with the run's name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from qgis.core import (
    QgsLayerTreeGroup,
    QgsMapLayer,
    QgsProcessingContext,
    QgsProcessingFeedback,
    QgsProcessingLayerPostProcessorInterface,
    QgsProject,
)
from qgis.PyQt import sip

from rszsl_processing.core.record import read_runs, record_text

LAYERS = ("regions", "tiles")
"""Of a map, from top to bottom in the legend."""
TEMPORARY_NAMES = ("OUTPUT", "output")


@dataclass(frozen=True)
class Shown:
    """What is loaded of a file.

    Attributes:
        gpkg: the file.
        layers: from top to bottom in the legend.
        title: of the legend group.
        record: text for the layers' metadata.
    """

    gpkg: str
    layers: tuple[str, ...]
    title: str
    record: str


def shown_map(gpkg: str) -> Shown:
    """Both layers of a map, under the name of its file, or of its scene where QGIS named a temporary file."""
    rows = read_runs(gpkg)
    temporary = Path(gpkg).stem in TEMPORARY_NAMES and rows
    title = f"{Path(rows[0]['scene']).stem}.rszsl" if temporary else Path(gpkg).stem
    return Shown(gpkg, LAYERS, title, record_text(rows))


def layer_uri(gpkg: str, layer: str) -> str:
    """How QGIS names a layer of a GeoPackage."""
    return f"{gpkg}|layername={layer}"


def load_on_completion(context: QgsProcessingContext, shown: Shown, destination: str | None = None) -> None:
    """Have layers loaded when the run is over.

    Args:
        context: of the run.
        shown: the result.
        destination: the output for which the user asked QGIS to load layers; nothing is loaded where it is not
            among those of the context. None loads in any case.
    """
    waiting: dict[str, QgsProcessingContext.LayerDetails] = context.layersToLoadOnCompletion()
    if destination is not None and destination not in waiting:
        return
    project = waiting[destination].project if destination is not None else context.project()
    if destination is not None:
        forget(context, destination)
    for name in shown.layers if project is not None else ():
        context.addLayerToLoadOnCompletion(layer_uri(shown.gpkg, name), _details(shown, name, project))


def forget(context: QgsProcessingContext, destination: str) -> None:
    """Do not have QGIS look for a result that was not made."""
    waiting = context.layersToLoadOnCompletion()
    if waiting.pop(destination, None) is not None:
        context.setLayersToLoadOnCompletion(waiting)


def _details(shown: Shown, name: str, project: QgsProject) -> QgsProcessingContext.LayerDetails:
    details = QgsProcessingContext.LayerDetails(name, project, "")
    details.forceName = True
    details.setPostProcessor(_new_dresser(shown, name))
    if hasattr(details, "groupName"):  # QGIS 3.32
        details.groupName = shown.title
    if hasattr(details, "layerSortKey"):
        details.layerSortKey = shown.layers[::-1].index(name)
    return details


class Dresser(QgsProcessingLayerPostProcessorInterface):
    """Gives a loaded layer its style, its record and its place."""

    def __init__(self, shown: Shown, name: str) -> None:
        super().__init__()
        self._shown, self._name = shown, name

    def postProcessLayer(
        self, layer: QgsMapLayer, context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> None:
        """Called by QGIS in the main thread."""
        layer.loadDefaultStyle()
        layer.setName(self._name)
        metadata = layer.metadata()
        metadata.setTitle(f"{self._shown.title}: {self._name}")
        metadata.setAbstract(self._shown.record)
        layer.setMetadata(metadata)
        layer.triggerRepaint()
        _into_group(context.project(), layer, self._shown.title, top=self._name == self._shown.layers[0])


def _into_group(project: QgsProject | None, layer: QgsMapLayer, title: str, *, top: bool) -> None:
    """Move a layer that already stands in the legend; QGIS from 3.32 places it itself, later."""
    root = project.layerTreeRoot() if project else None
    node = root.findLayer(layer.id()) if root else None
    if node is None:
        return
    above = node.parent()  # where QGIS put it: beside the layer that was active, maybe in the group of another run
    group: QgsLayerTreeGroup = root.findGroup(title) or root.insertGroup(0, title)
    group.insertChildNode(0 if top else -1, node.clone())
    above.removeChildNode(node)
    for expanded in (False, True):  # the legend closed the group when it was empty, and hears of changes alone
        group.setExpanded(expanded)


_ALIVE: list[Dresser] = []


def _new_dresser(shown: Shown, name: str) -> Dresser:
    """One for each layer: the context deletes it, and until then Python must not."""
    _ALIVE[:] = [dresser for dresser in _ALIVE if not sip.isdeleted(dresser)]
    _ALIVE.append(Dresser(shown, name))
    return _ALIVE[-1]
