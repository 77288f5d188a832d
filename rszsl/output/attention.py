"""Attention maps as one raster beside a map: a pixel a patch, a band an attribute, a Cloud-Optimized GeoTIFF.

This is the one place that writes a raster. Tiles come in plan order; a row of tiles is kept, then written.
"""

import errno
import math
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.shutil
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS
from rasterio._err import CPLE_BaseError  # what rasterio.shutil lets through
from rasterio.errors import RasterioError
from rasterio.windows import Window

from rszsl.errors import OutputError
from rszsl.scene.grid import Grid, Span

Floats = NDArray[np.float32]
EXACT = "exact: every pixel is one patch"
NEAREST = "nearest: where tiles do not start on whole patches, a pixel lies up to half a patch beside its own"


@dataclass(frozen=True, slots=True, eq=False)
class PatchAxis:
    """One axis of the raster, whose n pixels are a patch wide and begin at the scene's first pixel.

    Attributes:
        tile_px: scene pixels of a tile.
        side: patches of a tile.
        tiles: int64 (n,), the tile whose cell holds the pixel's centre.
        patches: int64 (n,), the patch of that tile under the pixel's centre, 0..side - 1.
        exact: whether all tiles begin on whole patches.
    """

    tile_px: int
    side: int
    tiles: NDArray[np.int64]
    patches: NDArray[np.int64]
    exact: bool

    @classmethod
    def over(cls, spans: Sequence[Span], side: int) -> "PatchAxis":
        """Lay patches over the spans of one axis of a grid; the last pixel may reach past the scene."""
        tile_px = spans[0].read1 - spans[0].read0
        count = math.ceil(spans[-1].keep1 * side / tile_px)
        # Positions in units of a scene pixel over 2 * side are integers, centres of patches too.
        unit = 2 * side
        centres = (2 * np.arange(count, dtype="int64") + 1) * tile_px
        reads = np.array([s.read0 for s in spans], dtype="int64") * unit
        tiles = np.searchsorted(np.array([s.keep0 for s in spans]) * unit, centres, side="right") - 1
        patches = np.minimum((centres - reads[tiles]) // (2 * tile_px), side - 1)
        return cls(tile_px, side, tiles, patches, exact=not (reads % (2 * tile_px)).any())

    def __len__(self) -> int:
        return len(self.tiles)

    @property
    def patch_px(self) -> float:
        """Scene pixels of a patch."""
        return self.tile_px / self.side

    def pixels_of(self, tile: int) -> slice:
        """Pixels of one tile; none where its cell is thinner than a patch."""
        start, stop = np.searchsorted(self.tiles, [tile, tile + 1])
        return slice(int(start), int(stop))


@dataclass(frozen=True, slots=True, eq=False)
class Ground:
    """Where the maps lie: the scene's grid, pixel to CRS, and CRS."""

    grid: Grid
    transform: Affine
    crs: CRS


class AttentionWriter:
    """Takes the maps of a scene's tiles in plan order.

    Args:
        path: the file to write.
        ground: where the tiles lie.
        names: of the A attributes, which become the bands' descriptions.
        about: what the file's tags tell.
    """

    def __init__(self, path: Path, ground: Ground, names: Sequence[str], about: Mapping[str, str]) -> None:
        self._path, self._plain = path, path.with_name("plain.tif")
        self._ground, self._names, self._about = ground, names, about
        self._row = -1
        self._sink: Any = None

    def put(self, tile_ids: NDArray[np.int64], maps: Floats) -> None:
        """Place the maps (n, A, G, G) of n tiles; tiles that never come stay NaN.

        Raises:
            OutputError: where the disk is full.
        """
        with _raster_errors(self._path):
            if self._sink is None:
                self._open(maps.shape[-1])
            for tile_id, tile_map in zip(tile_ids.tolist(), maps, strict=True):
                row, col = divmod(tile_id, self._ground.grid.shape[1])
                if row < self._row:  # a defect, to be seen as one: the row is written, and would be lost
                    raise RuntimeError(f"tile {tile_id} comes after tiles of row {self._row}")
                if row > self._row:
                    self._flush()
                    self._start(row)
                self._place(col, tile_map)

    def finish(self) -> Path:
        """Write what is left, make a Cloud-Optimized GeoTIFF of it, and give its path.

        Raises:
            OutputError: where it cannot be written.
        """
        with _raster_errors(self._path):
            self._flush()
            self.close()
            self._check_whole()
            rasterio.shutil.copy(
                self._plain, self._path, driver="COG", compress="DEFLATE", predictor="YES", blocksize=256,
                overview_resampling="AVERAGE", bigtiff="IF_SAFER",
            )  # fmt: skip
        return self._path

    def close(self) -> None:
        """Close the file for temporary use, if it is open."""
        if self._sink is not None:
            self._sink.close()

    def _check_whole(self) -> None:
        """Refuse a file that lacks a part: GDAL writes its last pixels on closing, and closing reports no error."""
        pixels = len(self._names) * len(self._rows) * len(self._cols)
        if self._plain.stat().st_size < pixels * np.dtype("float32").itemsize:
            raise OSError(errno.ENOSPC, "the file is not whole")

    def _open(self, side: int) -> None:
        ground, count = self._ground, len(self._names)
        self._rows = rows = PatchAxis.over(ground.grid.rows, side)
        self._cols = cols = PatchAxis.over(ground.grid.cols, side)
        # Strips, not blocks: rows come from the upper left and each is written once.
        self._sink = rasterio.open(
            self._plain, "w", driver="GTiff", dtype="float32", count=count, height=len(rows), width=len(cols),
            crs=ground.crs.to_wkt(), transform=_scaled(ground.transform, cols.patch_px, rows.patch_px),
            nodata=math.nan, interleave="band", bigtiff="IF_SAFER",
        )  # fmt: skip
        self._sink.descriptions = tuple(self._names)
        self._sink.update_tags(**self._about, placement=EXACT if rows.exact and cols.exact else NEAREST)
        self._start(0)

    def _start(self, row: int) -> None:
        self._row, self._at = row, self._rows.pixels_of(row)
        shape = len(self._names), self._at.stop - self._at.start, len(self._cols)
        self._strip: Floats = np.full(shape, np.nan, dtype="float32")

    def _flush(self) -> None:
        """Write the row of tiles that is kept."""
        if self._strip.size:
            window = Window(0, self._at.start, len(self._cols), self._at.stop - self._at.start)
            self._sink.write(self._strip, window=window)

    def _place(self, col: int, tile_map: Floats) -> None:
        across = self._cols.pixels_of(col)
        rows, cols = self._rows.patches[self._at], self._cols.patches[across]
        self._strip[:, :, across] = tile_map[:, rows[:, None], cols]


@contextmanager
def attention_beside(
    output: Path, ground: Ground, names: Sequence[str], about: Mapping[str, str]
) -> Iterator[AttentionWriter]:
    """Write attention maps into a folder for temporary files beside `output`; `write_result` takes them from there.

    Raises:
        OutputError: where nothing can be written there.
    """
    try:
        folder = Path(tempfile.mkdtemp(prefix=".rszsl-", dir=output.parent))
    except OSError as err:
        raise OutputError(f"cannot write into {output.parent}: {err.strerror}; name another --output") from err
    try:
        with closing(AttentionWriter(folder / attention_path(output).name, ground, names, about)) as writer:
            yield writer
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def attention_path(output: Path) -> Path:
    """`<stem of the output>.attention.tif` beside the output."""
    return output.with_suffix(".attention.tif")


def _scaled(transform: Affine, cols_px: float, rows_px: float) -> Affine:
    """Pixel to CRS for pixels of so many columns and rows of the old ones, from the same corner."""
    a, b, c, d, e, f = transform[:6]
    return Affine(a * cols_px, b * rows_px, c, d * cols_px, e * rows_px, f)


@contextmanager
def _raster_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, RasterioError, CPLE_BaseError) as err:
        raise OutputError(f"cannot write {path.name}: {err}; free some space or name another --output") from err
