"""The parameters that algorithms share, named as the options of the command in capitals."""

from __future__ import annotations

from typing import Any

from qgis.core import (
    QgsProcessingParameterBoolean,
    QgsProcessingParameterCrs,
    QgsProcessingParameterDefinition,
    QgsProcessingParameterEnum,
    QgsProcessingParameterExtent,
    QgsProcessingParameterFeatureSource,
    QgsProcessingParameterField,
    QgsProcessingParameterFile,
    QgsProcessingParameterNumber,
    QgsProcessingParameterString,
)

from rszsl_processing.bridge.compat import ADVANCED, ANY_FIELD, ANY_FILE, DOUBLE, INTEGER, POINTS, POLYGONS

DEFAULT_MODEL = "dsva-base"
VIEWS = ("1", "2", "4", "8")
DEVICES = ("auto", "cpu", "cuda", "cuda:1", "cuda:2", "cuda:3", "mps")


def helped(definition: QgsProcessingParameterDefinition, text: str, *, advanced: bool = False) -> Any:
    """Give a parameter its help text, and put it among the advanced ones."""
    definition.setHelp(text)
    if advanced:
        definition.setFlags(definition.flags() | ADVANCED)
    return definition


def class_parameters() -> list[QgsProcessingParameterDefinition]:
    """What to find."""
    names = QgsProcessingParameterString("CLASSES", "Classes to find", "", multiLine=True, optional=True)
    file = QgsProcessingParameterFile("CLASSES_FILE", "Or: class file", ANY_FILE, "", None, True, "All files (*)")
    return [
        helped(names, "What to find, separated by commas or line ends: solar farm, quarry. Any words will do."),
        helped(file, 'Text file with a class a line, "name" or "name: synonym, synonym"; # starts a comment.'),
    ]


def example_parameters() -> list[QgsProcessingParameterDefinition]:
    """What it looks like."""
    kinds = [POINTS, POLYGONS]
    examples = QgsProcessingParameterFeatureSource("EXAMPLES", "Examples (points or polygons)", kinds, None, True)
    field = QgsProcessingParameterField("CLASS_FIELD", "Class field", None, "EXAMPLES", ANY_FIELD, False, True)
    about = (
        "Places of which you know the class, one to fifty a class, on this raster. They add to the names of the "
        "classes, or stand in for them. Any CRS; tick the box for the selection alone."
    )
    return [
        helped(examples, about),
        helped(field, "The field of the examples that holds the class. Empty: the field class."),
    ]


def area_parameters() -> list[QgsProcessingParameterDefinition]:
    """Where to look."""
    aoi = QgsProcessingParameterFeatureSource("AOI", "Area of interest (polygons)", [POLYGONS], None, True)
    extent = QgsProcessingParameterExtent("EXTENT", "Or: extent", None, True)
    return [
        helped(aoi, "Only tiles that these polygons touch are mapped. Any CRS; tick the box for the selection alone."),
        helped(extent, "A rectangle in place of polygons, for instance of the map view."),
    ]


def model_parameter() -> QgsProcessingParameterDefinition:
    """With what."""
    model = QgsProcessingParameterString("MODEL", "Model", DEFAULT_MODEL, optional=True)
    return helped(model, "Name of a bundled model (see Model information), or the folder of a model.")


def model_of_cache_parameter() -> QgsProcessingParameterDefinition:
    """With what the cache was made."""
    model = QgsProcessingParameterString("MODEL", "Model", "", optional=True)
    return helped(model, "The model that made the cache. Empty: the one that it names.", advanced=True)


def cache_parameter() -> QgsProcessingParameterDefinition:
    """A cache that is there."""
    filters = "rszsl caches (*.rszsl-cache);;All files (*)"
    cache = QgsProcessingParameterFile("CACHE", "Cache", ANY_FILE, "", None, False, filters)
    return helped(cache, "The file that Map classes wrote under Cache, or rszsl embed.")


def confidence_parameter() -> QgsProcessingParameterDefinition:
    """How sure."""
    sure = QgsProcessingParameterNumber("MIN_CONFIDENCE", "Minimum confidence", DOUBLE, None, True, 0, 1)
    return helped(sure, "A tile whose best class is less sure becomes other. Empty: the value that suits the model.")


def device_parameter() -> QgsProcessingParameterDefinition:
    """On what machine."""
    device = QgsProcessingParameterEnum("DEVICE", "Device", list(DEVICES), False, "auto", False, True)
    return helped(device, "auto takes a GPU where there is one.")


def refine_parameter() -> QgsProcessingParameterDefinition:
    """With a look at the whole scene."""
    refine = QgsProcessingParameterBoolean("REFINE", "Refine over the scene", False, True)
    about = "After the first look, let tiles that are alike or side by side agree on their class."
    return helped(refine, about, advanced=True)


def advanced_parameters() -> list[QgsProcessingParameterDefinition]:
    """Bands, pixels and tiles."""
    number, text = QgsProcessingParameterNumber, QgsProcessingParameterString
    about = [
        (text("BANDS", "Bands", "", False, True), "Three bands from 1 as red, green, blue (4,3,2), or one. Empty: "
         "as the raster says."),
        (text("RANGE", "Value range", "", False, True), "Raw values that become black and white: 0,3000, or a pair "
         "for each band: 0,3000;0,2500;0,2000. Empty: 8-bit as it is, else percentiles 2 to 98 of the whole scene."),
        (number("OVERLAP", "Overlap of tiles", DOUBLE, 0.0, True, 0, 0.95), "Fraction of a tile that its neighbour "
         "sees too: 0.5 makes finer cells and takes four times as long."),
        (number("MIN_VALID", "Minimum valid share", DOUBLE, 0.5, True, 0, 1), "A tile with a smaller share of valid "
         "pixels is nodata."),
        (number("GSD", "Pixel size (metres)", DOUBLE, None, True, 0), "Metres a pixel of the raster; empty: measured. "
         "For layers that are no files (WMS, XYZ) the pixel size of the export; empty: the model's own."),
        (number("BATCH_SIZE", "Tiles at once", INTEGER, 32, True, 1), "Smaller needs less memory."),
        (QgsProcessingParameterEnum("VIEWS", "Views of a tile", list(VIEWS), False, VIEWS[0], True, True),
         "Show the model each tile so often, turned and mirrored: mostly better labels, for so many times the work."),
        (QgsProcessingParameterCrs("CRS", "CRS of the raster", None, True), "Only for a raster that names none."),
    ]  # fmt: skip
    return [helped(definition, words, advanced=True) for definition, words in about]
