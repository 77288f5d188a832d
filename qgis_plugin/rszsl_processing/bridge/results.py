"""Results into the project: both layers with the file's own styles, in a group with the run's name."""

from __future__ import annotations

from pathlib import Path

from qgis.core import (
    QgsLayerTreeGroup,
    QgsMapLayer,
    QgsProcessingContext,
    QgsProcessingFeedback,
    QgsProcessingLayerPostProcessorInterface,
    QgsProject,
    QgsProviderRegistry,
)
from qgis.PyQt import sip

from rszsl_processing.core.record import read_runs, record_text

LAYERS = ("regions", "tiles")
"""From top to bottom in the legend."""
TEMPORARY_NAMES = ("OUTPUT", "output")


def layer_uri(gpkg: str, layer: str) -> str:
    """How QGIS names a layer of a GeoPackage."""
    return f"{gpkg}|layername={layer}"


def group_name(gpkg: str) -> str:
    """The run's name: that of its file, or of its scene where QGIS named a temporary file."""
    stem = Path(gpkg).stem
    rows = read_runs(gpkg) if stem in TEMPORARY_NAMES else []
    return f"{Path(rows[0]['scene']).stem}.rszsl" if rows else stem


def load_on_completion(context: QgsProcessingContext, gpkg: str, destination: str | None = None) -> None:
    """Have both layers loaded when the run is over.

    Args:
        context: of the run.
        gpkg: the result.
        destination: the output for which the user asked QGIS to load layers; nothing is loaded where it is not
            among those of the context. None loads in any case.
    """
    waiting: dict[str, QgsProcessingContext.LayerDetails] = context.layersToLoadOnCompletion()
    if destination is not None and destination not in waiting:
        return
    project = waiting[destination].project if destination is not None else context.project()
    if destination is not None:
        forget(context, destination)
    for name in LAYERS if project is not None else ():
        context.addLayerToLoadOnCompletion(layer_uri(gpkg, name), _details(gpkg, name, project))


def forget(context: QgsProcessingContext, destination: str) -> None:
    """Do not have QGIS look for a result that was not made."""
    waiting = context.layersToLoadOnCompletion()
    if waiting.pop(destination, None) is not None:
        context.setLayersToLoadOnCompletion(waiting)


def _details(gpkg: str, name: str, project: QgsProject) -> QgsProcessingContext.LayerDetails:
    details = QgsProcessingContext.LayerDetails(name, project, "")
    details.forceName = True
    details.setPostProcessor(_new_dresser())
    if hasattr(details, "groupName"):  # QGIS 3.32
        details.groupName = group_name(gpkg)
    if hasattr(details, "layerSortKey"):
        details.layerSortKey = LAYERS[::-1].index(name)
    return details


class Dresser(QgsProcessingLayerPostProcessorInterface):
    """Gives a loaded layer its style, its record and its place."""

    def postProcessLayer(
        self, layer: QgsMapLayer, context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> None:
        """Called by QGIS in the main thread."""
        parts = QgsProviderRegistry.instance().decodeUri("ogr", layer.source())
        gpkg, name = parts.get("path", ""), parts.get("layerName", "")
        layer.loadDefaultStyle()
        layer.setName(name)
        metadata = layer.metadata()
        metadata.setTitle(f"{group_name(gpkg)}: {name}")
        metadata.setAbstract(record_text(read_runs(gpkg)))
        layer.setMetadata(metadata)
        layer.triggerRepaint()
        _into_group(context.project(), layer, group_name(gpkg), top=name == LAYERS[0])


def _into_group(project: QgsProject | None, layer: QgsMapLayer, title: str, *, top: bool) -> None:
    """Move a layer that already stands in the legend; QGIS from 3.32 places it itself, later."""
    node = project.layerTreeRoot().findLayer(layer.id()) if project else None
    if node is None:
        return
    above = node.parent()
    inside = above.name() == title  # QGIS adds a layer beside the one before, which may stand in the group already
    group: QgsLayerTreeGroup = above if inside else above.findGroup(title) or above.insertGroup(0, title)
    group.insertChildNode(0 if top else -1, node.clone())
    above.removeChildNode(node)


_ALIVE: list[Dresser] = []


def _new_dresser() -> Dresser:
    """One for each layer: the context deletes it, and until then Python must not."""
    _ALIVE[:] = [dresser for dresser in _ALIVE if not sip.isdeleted(dresser)]
    _ALIVE.append(Dresser())
    return _ALIVE[-1]
