"""Tiles that hold no valid pixel, known without reading them: from an overview of the masks, or blocks not stored."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.windows import Window

from rszsl.errors import SceneError
from rszsl.scene.gdal import opened
from rszsl.scene.grid import Grid, Span
from rszsl.scene.reader import Scene

FEWEST_TILES = 64
"""Fewer are read sooner than ruled out."""
CELLS_IN_TILE = 8
"""An overview serves where a tile is at least so many of its pixels wide: what is missed is narrower than one."""
MARGIN_CELLS = 2
"""Pixels of the overview around a tile that must be invalid, too."""
MOST_CELLS = 64_000_000

Bools = NDArray[np.bool_]


def blank_tiles(scene: Scene, grid: Grid, tile_ids: NDArray[np.int64]) -> Bools:
    """Say which tiles are nodata for certain, as far as the file's overviews are true to it.

    Args:
        scene: without masks, no tile is ruled out.
        grid: of the scene.
        tile_ids: int64 (n,).

    Returns:
        bool (n,); False where it is not known without reading.
    """
    blank = np.zeros(len(tile_ids), dtype=bool)
    if not scene.masks or len(tile_ids) < FEWEST_TILES:
        return blank
    rows = np.unique(tile_ids // grid.shape[1])
    span = (grid.rows[rows[0]].read0, min(grid.rows[rows[-1]].read1, scene.height_px))
    try:
        blank |= _by_blocks(scene, grid, tile_ids, span)
        blank |= _by_overview(scene, grid, tile_ids, span)
    except SceneError:  # a damaged overview rules nothing out; the tiles themselves will say what is wrong
        return blank
    return blank


def _by_overview(scene: Scene, grid: Grid, tile_ids: NDArray[np.int64], span: tuple[int, int]) -> Bools:
    """Rule out by the coarsest overview that is fine enough; a mask without one would be read whole."""
    tile_px = min(s.read1 - s.read0 for s in (grid.rows[0], grid.cols[0]))
    fine = [f for f in scene.layout.overviews if f * CELLS_IN_TILE <= tile_px]
    if not fine:
        return np.zeros(len(tile_ids), dtype=bool)
    with opened(scene.path, overview_level=scene.layout.overviews.index(max(fine))) as source:
        cell_px = (scene.height_px / source.height, scene.width_px / source.width)
        row0 = max(0, int(span[0] / cell_px[0]) - MARGIN_CELLS)
        row1 = min(source.height, int(span[1] / cell_px[0]) + 1 + MARGIN_CELLS)
        if (row1 - row0) * source.width > MOST_CELLS:
            return np.zeros(len(tile_ids), dtype=bool)
        window = Window(0, row0, source.width, row1 - row0)
        filled = np.zeros((row1 - row0, source.width), dtype=bool)
        for band in scene.masks:
            filled |= source.read_masks(band, window=window) > 0
    return _empty(filled, row0, cell_px, MARGIN_CELLS, grid, tile_ids)


def _by_blocks(scene: Scene, grid: Grid, tile_ids: NDArray[np.int64], span: tuple[int, int]) -> Bools:
    """Rule out by blocks that a GeoTIFF does not store: they are nodata where it names a value, or zero alpha."""
    with opened(scene.path) as source:
        bands = _bands_of_masks(source, scene.masks) if source.driver == "GTiff" else []
        height_px, width_px = scene.layout.block_px
        rows, n_cols = range(span[0] // height_px, -(-span[1] // height_px)), -(-scene.width_px // width_px)
        if not bands or len(rows) * n_cols > MOST_CELLS // 64:
            return np.zeros(len(tile_ids), dtype=bool)
        filled = np.zeros((len(rows), n_cols), dtype=bool)
        for band in bands:
            for row in rows:
                names = (f"BLOCK_OFFSET_{col}_{row}" for col in range(n_cols))
                filled[row - rows[0]] |= [source.get_tag_item(name, "TIFF", bidx=band) is not None for name in names]
    return _empty(filled, rows[0], (height_px, width_px), 0, grid, tile_ids)


def _bands_of_masks(source: Any, masks: tuple[int, ...]) -> list[int]:
    """Bands (1-based) whose missing blocks are invalid; none where the mask is a picture of its own."""
    flags = source.mask_flag_enums[masks[0] - 1]
    if MaskFlags.alpha in flags:
        return [source.colorinterp.index(ColorInterp.alpha) + 1]
    return list(masks) if MaskFlags.nodata in flags else []


def _empty(
    filled: Bools, row0: int, cell_px: tuple[float, float], margin: int, grid: Grid, tile_ids: NDArray[np.int64]
) -> Bools:
    """Say which windows, with a margin of cells, hold no cell that is filled; `filled` begins at cell row `row0`."""
    total = np.zeros((filled.shape[0] + 1, filled.shape[1] + 1), dtype="int64")
    total[1:, 1:] = filled.cumsum(0, dtype="int64").cumsum(1)
    r0, r1 = _cells(grid.rows, cell_px[0], margin, row0, filled.shape[0])
    c0, c1 = _cells(grid.cols, cell_px[1], margin, 0, filled.shape[1])
    row, col = np.divmod(tile_ids, grid.shape[1])
    r0, r1, c0, c1 = r0[row], r1[row], c0[col], c1[col]
    return np.asarray(total[r1, c1] - total[r0, c1] - total[r1, c0] + total[r0, c0] == 0)


def _cells(
    spans: tuple[Span, ...], cell_px: float, margin: int, first: int, count: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First cell of each span, and the one after its last, cut to those that are there: int64 (n,) each."""
    start = np.floor(np.array([s.read0 for s in spans]) / cell_px).astype("int64") - margin - first
    stop = np.ceil(np.array([s.read1 for s in spans]) / cell_px).astype("int64") + margin - first
    return np.clip(start, 0, count), np.clip(stop, 0, count)
