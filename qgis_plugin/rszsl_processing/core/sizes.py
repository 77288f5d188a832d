"""How many pixels an export has, and how many are too many."""

from __future__ import annotations

import math

from rszsl_processing.core.errors import PluginError

WARN_PX = 25_000_000
LIMIT_PX = 400_000_000


def export_size_px(width_m: float, height_m: float, gsd_m: float) -> tuple[int, int]:
    """Columns and rows that cover an extent at a pixel size, at least one each.

    Raises:
        PluginError: where there is no pixel size, or the picture would be too large.
    """
    if not (gsd_m > 0 and math.isfinite(gsd_m)):
        raise PluginError("the export needs a pixel size: give GSD in metres")
    if not (width_m > 0 and height_m > 0):
        raise PluginError("the area of interest does not overlap the raster layer")
    columns, rows = (max(1, math.ceil(length_m / gsd_m - 1e-6)) for length_m in (width_m, height_m))
    if columns * rows > LIMIT_PX:
        raise PluginError(
            f"the export would have {columns} x {rows} pixels at {gsd_m:g} m, above the limit of "
            f"{LIMIT_PX / 1e6:.0f} million; choose a smaller area or a larger GSD"
        )
    return columns, rows


def size_warning(columns: int, rows: int) -> str:
    """A word on a large export, or ""."""
    if columns * rows <= WARN_PX:
        return ""
    return f"{columns} x {rows} pixels are exported first; a smaller area or a larger GSD is quicker"
