"""Members of enumerations, by name: QGIS moves them between classes from 3.22 to 4."""

from __future__ import annotations

from typing import Any

import qgis.core
from qgis.PyQt import QtCore


def member(*paths: str) -> Any:
    """The first of the dotted paths that this `qgis.core` has, newest spelling first."""
    for path in paths:
        found: Any = qgis.core
        for part in path.split("."):
            found = getattr(found, part, None)
        if found is not None:
            return found
    raise AttributeError(f"this QGIS has none of {', '.join(paths)}")


ADVANCED = member("Qgis.ProcessingParameterFlag.Advanced", "QgsProcessingParameterDefinition.FlagAdvanced")
POLYGONS = member("Qgis.ProcessingSourceType.VectorPolygon", "QgsProcessing.TypeVectorPolygon")
POINTS = member("Qgis.ProcessingSourceType.VectorPoint", "QgsProcessing.TypeVectorPoint")
ANY_FIELD = member("Qgis.ProcessingFieldParameterDataType.Any", "QgsProcessingParameterField.Any")
DOUBLE = member("Qgis.ProcessingNumberParameterType.Double", "QgsProcessingParameterNumber.Double")
INTEGER = member("Qgis.ProcessingNumberParameterType.Integer", "QgsProcessingParameterNumber.Integer")
FOLDER = member("Qgis.ProcessingFileParameterBehavior.Folder", "QgsProcessingParameterFile.Folder")
ANY_FILE = member("Qgis.ProcessingFileParameterBehavior.File", "QgsProcessingParameterFile.File")
MULTI_POLYGON = member("Qgis.WkbType.MultiPolygon", "QgsWkbTypes.MultiPolygon")
WRITER_OK = member("QgsVectorFileWriter.WriterError.NoError", "QgsVectorFileWriter.NoError")
RASTER_WRITER_OK = member(
    "Qgis.RasterFileWriterResult.Success", "QgsRasterFileWriter.WriterError.NoError", "QgsRasterFileWriter.NoError"
)
COLOUR_PICTURES = tuple(member(f"Qgis.DataType.{name}", f"Qgis.{name}") for name in ("ARGB32", "ARGB32_Premultiplied"))
TEXT_FIELD = QtCore.QMetaType.Type.QString if qgis.core.Qgis.QGIS_VERSION_INT >= 33800 else QtCore.QVariant.String
