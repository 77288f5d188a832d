"""The demo scene: a painted aerial view of seven kinds of land, written as a GeoTIFF."""

from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import ColorInterp, Resampling
from rasterio.transform import Affine

from rszsl.demo import fields, nature, quarry, roads, solar, town, works
from rszsl.demo.canvas import Canvas
from rszsl.demo.layout import CRS, DEMO_CLASSES, GSD, ORIGIN, SIZE_PX, Plan, make_plan, zones
from rszsl.demo.light import expose
from rszsl.errors import OutputError

__all__ = ["CRS", "DEMO_CLASSES", "GSD", "ORIGIN", "SIZE_PX", "paint_scene", "write_demo_scene", "zones"]

NODATA = 0
PAINTERS = (
    fields.paint_fields,
    nature.paint_forest,
    nature.paint_lake,
    quarry.paint_quarry,
    works.paint_works,
    solar.paint_solar,
    roads.paint_roads,
    town.paint_town,
)


def paint_scene(size_px: tuple[int, int] = SIZE_PX, seed: int = 7) -> NDArray[np.uint8]:
    """Paint the scene; the same size and seed give the same pixels.

    Args:
        size_px: Rows and columns. The plan is stretched to it; houses and trees keep their size.
        seed: Draws another landscape on the same plan.

    Returns:
        uint8 (3, H, W) red, green, blue; 1..255, and 0 in all bands for nodata.
    """
    plan = make_plan(size_px, seed)
    canvas = Canvas(np.zeros((3, *size_px), dtype=np.float32), np.zeros(size_px, dtype=np.float32), GSD)
    for number, painter in enumerate(PAINTERS, start=1):
        painter(canvas, plan, np.random.default_rng([seed, number]))
    picture = expose(canvas, np.random.default_rng([seed, len(PAINTERS) + 1]))
    _hide_collar(canvas, plan, picture)
    return picture


def _hide_collar(canvas: Canvas, plan: Plan, picture: NDArray[np.uint8]) -> None:
    window = canvas.window(plan.collar, 2)
    picture[:, *window][:, canvas.cover(plan.collar, window) >= 0.5] = NODATA


def write_demo_scene(path: Path, *, seed: int = 7) -> Path:
    """Write the scene as a tiled, deflated GeoTIFF with overviews; a file at `path` is replaced.

    Raises:
        OutputError: where `path` cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, paint_scene(seed=seed))
    except (OSError, rasterio.errors.RasterioError) as err:
        text = f"cannot write the demo scene to {path}: {err}; choose a folder you can write to"
        raise OutputError(text) from err
    return path


def _write(path: Path, pixels: NDArray[np.uint8]) -> None:
    profile = {
        "driver": "GTiff",
        "count": pixels.shape[0],
        "height": pixels.shape[1],
        "width": pixels.shape[2],
        "dtype": "uint8",
        "crs": CRS,
        "transform": Affine(GSD, 0, ORIGIN[0], 0, -GSD, ORIGIN[1]),
        "nodata": NODATA,
        "photometric": "RGB",
        "tiled": True,
        "blockxsize": 512,
        "blockysize": 512,
        "compress": "deflate",
        "predictor": 2,
        "zlevel": 6,
    }
    with rasterio.open(path, "w", **profile) as file:
        file.write(pixels)
        file.colorinterp = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
        file.update_tags(TIFFTAG_IMAGEDESCRIPTION="Painted by rszsl demo; not a real place", AREA_OR_POINT="Area")
        file.build_overviews([2, 4, 8], Resampling.average)
