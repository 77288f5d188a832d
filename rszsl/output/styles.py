"""Colours of classes, and the QGIS styles (QML) that a GeoPackage carries."""

import colorsys
from collections.abc import Sequence
from typing import Final
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from rszsl.classes import OTHER

# Okabe and Ito (2008), readable with any colour vision, then Tol's "bright" for the rest.
PALETTE: Final = (
    "#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7",
    "#AA3377", "#66CCEE", "#CCBB44", "#EE6677", "#228833", "#4477AA",
)  # fmt: skip
OTHER_COLOUR: Final = "#9E9E9E"


def class_colours(names: Sequence[str]) -> dict[str, str]:
    """Give each class a colour (hex) by its place in the list; beyond the palette, hues by the golden angle."""
    return {name: _colour(i) for i, name in enumerate(names)}


def tiles_qml(classes: Sequence[str]) -> str:
    """Style of the layer `tiles`: thin cells, filled by class; `other` only outlined."""
    categories = [
        (name, name, _rgba(colour, 90), _rgba(colour, 140)) for name, colour in class_colours(classes).items()
    ]
    categories.append((OTHER, "other (none of the classes)", "0,0,0,0", _rgba(OTHER_COLOUR, 110)))
    return _document(categories, width_mm=0.1, label=None)


def regions_qml(classes: Sequence[str]) -> str:
    """Style of the layer `regions`: filled by class with a firm outline, labelled with class and confidence."""
    categories = [
        (name, name, _rgba(colour, 110), _rgba(colour, 255)) for name, colour in class_colours(classes).items()
    ]
    label = "\"class\" || ' ' || round(100 * \"confidence_mean\") || ' %'"
    return _document(categories, width_mm=0.5, label=label)


def similar_qml() -> str:
    """Style of the layer `similar`: one colour, each tile with its rank."""
    fill, outline = _rgba(PALETTE[0], 60), _rgba(PALETTE[0], 255)
    return _document([("", "", fill, outline)], width_mm=0.5, label='"rank"', by_class=False)


def _document(
    categories: list[tuple[str, str, str, str]], *, width_mm: float, label: str | None, by_class: bool = True
) -> str:
    qgis = Element("qgis", version="3.22", styleCategories="Symbology|Labeling", labelsEnabled="1" if label else "0")
    kind = {"type": "categorizedSymbol", "attr": "class"} if by_class else {"type": "singleSymbol"}
    renderer = SubElement(qgis, "renderer-v2", kind, enableorderby="0")
    listed, symbols = SubElement(renderer, "categories"), SubElement(renderer, "symbols")
    for i, (value, title, fill, outline) in enumerate(categories):
        SubElement(listed, "category", value=value, label=title, symbol=str(i), render="true", type="string")
        symbol = SubElement(symbols, "symbol", type="fill", name=str(i), alpha="1", clip_to_extent="1")
        layer = SubElement(symbol, "layer", {"class": "SimpleFill", "enabled": "1", "pass": "0", "locked": "0"})
        options = SubElement(layer, "Option", type="Map")
        for name, setting in _fill_options(fill, outline, width_mm).items():
            SubElement(options, "Option", name=name, value=setting, type="QString")
    if label:
        _add_label(qgis, label)
    indent(qgis)
    return "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n" + tostring(qgis, encoding="unicode")


def _fill_options(fill: str, outline: str, width_mm: float) -> dict[str, str]:
    return {
        "color": fill,
        "style": "solid",
        "outline_color": outline,
        "outline_style": "solid",
        "outline_width": str(width_mm),
        "outline_width_unit": "MM",
        "joinstyle": "miter",
    }


def _add_label(qgis: Element, expression: str) -> None:
    settings = SubElement(SubElement(qgis, "labeling", type="simple"), "settings", calloutType="simple")
    style = SubElement(
        settings, "text-style",
        fieldName=expression, isExpression="1", fontSize="9", fontSizeUnit="Point",
        fontFamily="Sans Serif", textColor="20,20,20,255",
    )  # fmt: skip
    SubElement(
        style,
        "text-buffer",
        bufferDraw="1",
        bufferSize="0.8",
        bufferSizeUnits="MM",
        bufferColor="255,255,255,220",
    )
    SubElement(settings, "placement", placement="1", centroidInside="1", centroidWhole="1")


def _rgba(colour: str, alpha: int) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"{red},{green},{blue},{alpha}"


def _colour(i: int) -> str:
    if i < len(PALETTE):
        return PALETTE[i]
    rgb = colorsys.hls_to_rgb(i * 0.618034 % 1, 0.45, 0.65)
    return "#" + "".join(f"{round(255 * v):02X}" for v in rgb)
