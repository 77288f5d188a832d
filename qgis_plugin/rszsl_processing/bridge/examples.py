"""Examples: points or polygons with a class, written for `--examples`, each part a feature of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from qgis.core import (
    QgsCoordinateTransformContext,
    QgsFeature,
    QgsField,
    QgsFields,
    QgsGeometry,
    QgsProcessingFeatureSource,
    QgsProcessingFeedback,
    QgsWkbTypes,
)

from rszsl_processing.bridge.compat import TEXT_FIELD
from rszsl_processing.bridge.vectors import VectorFile
from rszsl_processing.core.errors import PluginError

FIELD = "class"
"""The field's name in the file that is written, and the one that is looked for where none is chosen."""


def check_examples(source: QgsProcessingFeatureSource | None, field: str) -> None:
    """Refuse what cannot be examples.

    Raises:
        PluginError: naming what is missing.
    """
    if source is None:
        raise PluginError("the examples cannot be read")
    if source.fields().lookupField(field) < 0:
        raise PluginError(
            f'the examples have no field "{field}"; choose the class field among {", ".join(source.fields().names())}'
        )
    if not source.sourceCrs().isValid():
        raise PluginError("the examples have no CRS; set that of their layer")


def write_examples(
    source: QgsProcessingFeatureSource,
    field: str,
    path: str,
    transforms: QgsCoordinateTransformContext,
    feedback: QgsProcessingFeedback,
) -> None:
    """Write the examples in their own CRS; those without a class or a geometry are left out, with a warning.

    Raises:
        PluginError: where none is left, or where they cannot be written.
    """
    number = source.fields().lookupField(field)
    features = list(source.getFeatures())
    rows = [row for feature in features for row in _parts(feature, number)]
    left_out = len([feature for feature in features if not list(_parts(feature, number))])
    if not rows:
        raise PluginError("there is no example with a class; if it is a selection, select some features first")
    if left_out:
        feedback.pushWarning(f"{left_out} examples without a class or a geometry are left out")
    fields = QgsFields()
    fields.append(QgsField(FIELD, TEXT_FIELD))
    kind = QgsWkbTypes.singleType(QgsWkbTypes.flatType(QgsWkbTypes.linearType(source.wkbType())))
    VectorFile(path, "examples", fields, kind, source.sourceCrs(), transforms).add(rows)


def _parts(feature: QgsFeature, number: int) -> Iterator[tuple[QgsGeometry, list[Any]]]:
    value, whole = feature.attributes()[number], feature.geometry()
    name = str(value).strip() if isinstance(value, (str, int, float)) else ""
    if not name or whole.isNull() or whole.isEmpty():
        return
    for part in whole.asGeometryCollection():
        part.get().dropZValue()
        part.get().dropMValue()
        yield (QgsGeometry(part.constGet().segmentize()) if part.constGet().hasCurvedSegments() else part), [name]
