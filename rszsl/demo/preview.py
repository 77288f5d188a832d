"""A picture of a result: the scene alone, and beside it the scene with its labelled regions."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import Resampling

from rszsl.classes import OTHER
from rszsl.demo.layout import DEMO_CLASSES
from rszsl.errors import OutputError, SceneError
from rszsl.output.styles import class_colours

if TYPE_CHECKING:
    from geopandas import GeoDataFrame
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Extent = tuple[float, float, float, float]
"""Left, right, bottom and top in CRS units, as matplotlib wants them."""
DPI = 100
FILL_OPACITY = 0.34
LEGEND_COLUMNS = 4


def draw_preview(
    scene_path: Path,
    gpkg_path: Path,
    png_path: Path,
    *,
    width_px: int = 1600,
    classes: Sequence[str] = DEMO_CLASSES,
) -> Path:
    """Draw the scene on the left and its regions over it on the right, with a legend below.

    Args:
        scene_path: The scene, 8-bit; the first three bands are shown as they are.
        gpkg_path: The result; its layer `regions` has `class`, `confidence_mean`, `tiles` and `area_m2`.
        png_path: The picture to write.
        width_px: The picture's width.
        classes: All class names in the order given to the run, so that colours match the GeoPackage's styles.

    Raises:
        SceneError: where the scene cannot be read.
        OutputError: where the result cannot be read or the picture not be written.
    """
    picture, extent = read_scene(scene_path, width_px // 2)
    regions = _read_regions(gpkg_path)
    names = list(dict.fromkeys([*classes, *regions["class"]]))
    shown = [name for name in names if name != OTHER]
    figure, scene_axes, label_axes = _make_figure(
        picture, extent, width_px, rows=math.ceil((len(shown) + 1) / LEGEND_COLUMNS)
    )
    scene_axes.set_title("scene", loc="left", fontsize=12)
    label_axes.set_title("labels", loc="left", fontsize=12)
    _draw_regions(label_axes, regions, class_colours(shown))
    _add_legend(figure, regions, class_colours(shown))
    return _save(figure, png_path)


def read_scene(path: Path, width_px: int) -> tuple[NDArray[np.uint8], Extent]:
    """Read the scene decimated to at most `width_px` columns, nodata as transparent.

    Returns:
        uint8 (h, w, 4) red, green, blue, opacity; and where that lies.

    Raises:
        SceneError: where the scene cannot be read.
    """
    try:
        with rasterio.open(path) as file:
            shape = round(file.height * min(width_px / file.width, 1)), min(width_px, file.width)
            bands = [1, 2, 3] if file.count >= 3 else [1, 1, 1]
            pixels = file.read(bands, out_shape=(3, *shape), resampling=Resampling.average)
            mask = file.dataset_mask(out_shape=shape)
            bounds = file.bounds
    except rasterio.errors.RasterioError as err:
        raise SceneError(f"cannot read the scene {path}: {err}; give a GeoTIFF") from err
    picture = np.concatenate([pixels.astype(np.uint8), mask[None]]).transpose(1, 2, 0)
    return picture, (bounds.left, bounds.right, bounds.bottom, bounds.top)


def _read_regions(path: Path) -> "GeoDataFrame":
    import geopandas
    from pyogrio.errors import DataLayerError, DataSourceError

    try:
        return geopandas.read_file(path, layer="regions")
    except (DataSourceError, DataLayerError) as err:
        raise OutputError(f"cannot read the layer regions of {path}: {err}; run rszsl map first") from err


def _make_figure(
    picture: NDArray[np.uint8], extent: Extent, width_px: int, rows: int
) -> tuple["Figure", "Axes", "Axes"]:
    """A figure with the scene drawn twice, side by side, and room for `rows` of legend below."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    edge, title, legend = 14, 30, 30 * rows + 12
    panel = (width_px - 3 * edge) / 2
    high = panel * picture.shape[0] / picture.shape[1]
    height_px = math.ceil(high + title + legend + edge)
    figure = Figure(figsize=(width_px / DPI, height_px / DPI), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    size = (panel / width_px, high / height_px)
    axes = [figure.add_axes((left / width_px, legend / height_px, *size)) for left in (edge, 2 * edge + panel)]
    for axis in axes:
        axis.imshow(picture, extent=extent, interpolation="antialiased", aspect="auto")
        axis.set(xlim=extent[:2], ylim=extent[2:], xticks=[], yticks=[])
    return figure, axes[0], axes[1]


def _draw_regions(axes: "Axes", regions: "GeoDataFrame", colours: dict[str, str]) -> None:
    """Fill and outline each region, and write its mean confidence on it where it has four tiles or more."""
    import shapely
    from matplotlib.patheffects import withStroke

    for name, colour in colours.items():
        part = regions[regions["class"] == name]
        if len(part):
            part.plot(ax=axes, facecolor=colour, alpha=FILL_OPACITY, edgecolor="none", aspect=None)
            part.plot(ax=axes, facecolor="none", edgecolor=colour, linewidth=2.0, aspect=None)
    axes.set(xlabel="", ylabel="")
    halo = [withStroke(linewidth=2.5, foreground="white")]
    for name, shape, confidence, tiles in zip(
        regions["class"], regions.geometry, regions["confidence_mean"], regions["tiles"], strict=True
    ):
        if tiles >= 4 and name in colours:
            x, y = shapely.get_coordinates(shapely.maximum_inscribed_circle(shape, tolerance=10))[0]
            text = f"{name}\n{confidence:.0%}"
            axes.text(x, y, text, ha="center", va="center", fontsize=8, path_effects=halo, clip_on=True)


def _add_legend(figure: "Figure", regions: "GeoDataFrame", colours: dict[str, str]) -> None:
    """List every class with its colour and labelled area below the panels."""
    from matplotlib.patches import Patch

    hectares = (regions.groupby("class")["area_m2"].sum() / 1e4).to_dict()
    handles = [
        Patch(facecolor=colour, edgecolor="#333333", linewidth=0.6, label=f"{name}, {hectares.get(name, 0):.0f} ha")
        for name, colour in colours.items()
    ]
    handles.append(Patch(facecolor="none", edgecolor="#9E9E9E", linewidth=0.8, label="no label"))
    figure.legend(handles=handles, loc="lower center", ncols=LEGEND_COLUMNS, frameon=False, fontsize=11)


def _save(figure: "Figure", path: Path) -> Path:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=DPI, format="png")
    except OSError as err:
        raise OutputError(f"cannot write the picture {path}: {err}; choose a folder you can write to") from err
    return path
