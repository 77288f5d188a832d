"""The one reader of rasters: opens a scene, decides its bands and radiometry once, reads windows of it."""

import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS
from pyproj.exceptions import CRSError
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.windows import Window

from rszsl.errors import OptionError, SceneError
from rszsl.scene import radiometry as radiometric
from rszsl.scene.bands import choose_bands, mask_bands
from rszsl.scene.gdal import gdal_env, opened, reading
from rszsl.scene.georef import Gsd, measure_gsd
from rszsl.scene.grid import Box
from rszsl.scene.pixels import Tile, as_floats, fill_invalid, padded
from rszsl.scene.radiometry import Radiometry
from rszsl.scene.strips import Layout

SAMPLE_SIDE_PX = 1024
"""A scene (or its overview) up to this side gives its radiometry whole; else a lattice of windows does."""
LATTICE, LATTICE_WINDOW_PX = 8, 128


@dataclass(frozen=True, eq=False)
class Scene:
    """One georeferenced raster, opened by `open_scene`.

    Pickles as facts: each thread, and each process, opens a file handle of its own when it first reads.

    Attributes:
        path: what rasterio opens: a file, `/vsi…`, `s3://…` or `https://…`.
        height_px: rows.
        width_px: columns.
        transform: pixel to CRS.
        crs: of the scene.
        gsd: metres on the ground from pixel to pixel.
        bands: 1-based, as red, green, blue.
        masks: 1-based bands whose masks are joined (any valid is valid); empty where all is valid.
        radiometry: decided once.
        layout: how the file keeps its pixels.
        warnings: what the user should know about the choices made.
    """

    path: str
    height_px: int
    width_px: int
    transform: Affine
    crs: CRS
    gsd: Gsd
    bands: tuple[int, int, int]
    masks: tuple[int, ...]
    radiometry: Radiometry
    layout: Layout
    warnings: tuple[str, ...] = ()
    _handles: threading.local = field(default_factory=threading.local, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k != "_handles"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _handles=threading.local())

    @property
    def is_bytes(self) -> bool:
        """Whether tiles travel as bytes: an 8-bit scene that is left as it is."""
        return self.radiometry.is_bytes

    def read(self, window: Box, *, height_px: int, width_px: int) -> Tile:
        """Read a window as `read_pixels` does, as float32 in 0..1."""
        tile = self.read_pixels(window, height_px=height_px, width_px=width_px)
        return Tile(as_floats(tile.image), tile.valid)

    def read_pixels(self, window: Box, *, height_px: int, width_px: int) -> Tile:
        """Read a window, resampled to `height_px` x `width_px`: bytes of an 8-bit scene, else float32 in 0..1.

        Downsampling averages (from the best overview), upsampling is cubic. The window may pass the scene's
        end; what lies outside is invalid.

        Raises:
            SceneError: where the pixels cannot be read.
        """
        inside = self._inside(window)
        part = (
            max(1, round(height_px * inside.height_px / window.height_px)),
            max(1, round(width_px * inside.width_px / window.width_px)),
        )
        raw, valid = self.read_raw(inside, part)
        if part != (height_px, width_px):
            valid = padded(np.ones(part, dtype=bool) if valid is None else valid, height_px, width_px)
        return self.finish(padded(raw, height_px, width_px), valid)

    def read_raw(self, box: Box, shape: tuple[int, int]) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
        """Read a box within the scene, resampled to `shape`, as it is stored.

        Returns:
            (3, H, W) of the scene's type, red, green, blue, maybe read-only; and what is valid, bool (H, W), None
            where the scene has no masks.

        Raises:
            SceneError: where the pixels cannot be read.
        """
        try:
            with reading(self.path):
                return self._read_raw(box, shape)
        except (RasterioError, MemoryError) as err:
            raise SceneError(f"cannot read {box} of {self.path}: {err}") from err

    def finish(self, raw: NDArray[Any], valid: NDArray[np.bool_] | None) -> Tile:
        """Make a tile of raw pixels (3, H, W) and their mask (H, W): stretch, and fill what is invalid."""
        every = np.ones(raw.shape[1:], dtype=bool) if valid is None else valid
        if self.is_bytes:
            return Tile(raw if valid is None else fill_invalid(raw, valid), every)
        scaled = self.radiometry.apply(raw)
        every = every & np.isfinite(scaled).all(axis=0)
        return Tile(fill_invalid(scaled, every), every)

    def _inside(self, window: Box) -> Box:
        end_row = min(window.end_row_px, self.height_px)
        end_col = min(window.end_col_px, self.width_px)
        row, col = max(0, window.row_px), max(0, window.col_px)
        if end_row <= row or end_col <= col:
            raise SceneError(f"{window} lies outside {self.path} ({self.height_px} x {self.width_px} px)")
        return Box(row, col, end_row - row, end_col - col)

    def _read_raw(self, box: Box, shape: tuple[int, int]) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
        source = self._handle()
        window = Window(box.col_px, box.row_px, box.width_px, box.height_px)
        smaller = shape[0] <= box.height_px and shape[1] <= box.width_px
        resampling = Resampling.average if smaller else Resampling.cubic
        distinct = list(dict.fromkeys(self.bands))
        raw = source.read(distinct, window=window, out_shape=(len(distinct), *shape), resampling=resampling)
        if len(distinct) == 1:
            raw = np.broadcast_to(raw, (len(self.bands), *shape))
        elif len(distinct) < len(self.bands):
            raw = raw[[distinct.index(b) for b in self.bands]]
        if not self.masks:
            return raw, None
        masks = source.read_masks(list(self.masks), window=window, out_shape=(len(self.masks), *shape))
        return raw, np.asarray(masks.any(axis=0))

    def _handle(self) -> Any:  # rasterio ships no types
        """The handle of this thread in this process: after a fork, parent and child would share one file position."""
        kept = getattr(self._handles, "source", None)
        if kept is None or kept[0] != os.getpid():
            with gdal_env(self.path):
                kept = self._handles.source = (os.getpid(), rasterio.open(self.path))
        return kept[1]


def open_scene(
    path: str,
    *,
    bands: Sequence[int] | None = None,
    value_ranges: Sequence[tuple[float, float]] | None = None,
    crs: str | None = None,
    gsd_m: float | None = None,
) -> Scene:
    """Open a raster and decide, once, its bands, radiometry and pixel size.

    Args:
        path: anything that rasterio opens.
        bands: three bands (1-based) as red, green, blue, or one for all three; default by colour interpretation.
        value_ranges: raw (low, high), one for all bands or one for each; default 0-255 for 8 bit, else percentiles.
        crs: for a raster that names none (or a wrong one), as `EPSG:25832`.
        gsd_m: metres a pixel; default measured on the ellipsoid.

    Raises:
        SceneError: where it is missing, no raster, has no CRS, is rotated, or lacks a band.
        OptionError: for a CRS that nobody knows or a wrong number of ranges.
    """
    with opened(path) as source:
        scene_crs = _crs_of(source, crs, path)
        _check_transform(source.transform, path)
        chosen, warning = choose_bands(source.count, source.colorinterp, bands, path)
        if np.dtype(source.dtypes[chosen[0] - 1]).kind == "c":
            raise SceneError(f"{path} holds complex numbers; make an amplitude image first")
        masks = mask_bands(source.mask_flag_enums, chosen)
        measured = measure_gsd(source.transform, scene_crs, source.height, source.width) if gsd_m is None else None
        return Scene(
            path=path,
            height_px=source.height,
            width_px=source.width,
            transform=source.transform,
            crs=scene_crs,
            gsd=measured or Gsd(float(gsd_m or 0), float(gsd_m or 0)),
            bands=chosen,
            masks=masks,
            radiometry=_decide_radiometry(source, chosen, masks, value_ranges),
            warnings=(warning,) if warning else (),
            layout=_layout(source, chosen[0], masks),
        )


def _layout(source: Any, band: int, masks: tuple[int, ...]) -> Layout:
    sample_bytes = np.dtype(source.dtypes[band - 1]).itemsize
    return Layout(source.block_shapes[band - 1], tuple(source.overviews(band)), bool(masks), sample_bytes)


def _crs_of(source: Any, asked: str | None, path: str) -> CRS:
    if asked is not None:
        try:
            return CRS.from_user_input(asked)
        except CRSError as err:
            raise OptionError(f'--crs "{asked}" is no CRS that PROJ knows; give one like EPSG:25832') from err
    if source.crs is None or not source.crs.to_wkt():
        raise SceneError(f"{path} has no CRS; give it with --crs EPSG:…")
    return CRS.from_wkt(source.crs.to_wkt())


def _check_transform(transform: Affine, path: str) -> None:
    if transform == Affine.identity():
        raise SceneError(f"{path} has no geotransform (its pixels have no place on the ground); georeference it first")
    if transform.b or transform.d:
        raise SceneError(f"{path} is rotated; make it north-up first: gdalwarp {path} north_up.tif")


def _decide_radiometry(
    source: Any,
    bands: tuple[int, int, int],
    masks: tuple[int, ...],
    value_ranges: Sequence[tuple[float, float]] | None,
) -> Radiometry:
    if value_ranges is not None:
        return radiometric.given(tuple(value_ranges), len(bands))
    if all(source.dtypes[b - 1] == "uint8" for b in bands):
        return radiometric.eight_bit(len(bands))
    windows, what = _sample_windows(source)
    sampled = [_sample(source, bands, masks, *w) for w in windows]
    return radiometric.from_sample(np.concatenate(sampled, axis=1), what)


def _sample_windows(source: Any) -> tuple[list[tuple[Window, tuple[int, int]]], str]:
    """Windows, with the shape to read them at, that stand for the whole scene."""
    height, width = source.height, source.width
    cheapest = max(source.overviews(1), default=1)
    if max(height, width) / cheapest <= 4 * SAMPLE_SIDE_PX:
        shrink = max(1.0, max(height, width) / SAMPLE_SIDE_PX)
        shape = (max(1, int(height / shrink)), max(1, int(width / shrink)))
        return [(Window(0, 0, width, height), shape)], "a decimated read" if shrink > 1 else "the scene"
    side = LATTICE_WINDOW_PX
    rows = np.linspace(0, max(0, height - side), LATTICE).astype(int)
    cols = np.linspace(0, max(0, width - side), LATTICE).astype(int)
    shape = (min(side, height), min(side, width))
    windows = [(Window(int(c), int(r), shape[1], shape[0]), shape) for r in rows for c in cols]
    return windows, f"{len(windows)} windows"


def _sample(
    source: Any, bands: tuple[int, ...], masks: tuple[int, ...], window: Window, shape: tuple[int, int]
) -> NDArray[np.float64]:
    """Raw values of the chosen bands (bands, n) in float64, NaN where invalid."""
    values = source.read(list(bands), window=window, out_shape=(len(bands), *shape)).astype("float64")
    if masks:
        valid = source.read_masks(list(masks), window=window, out_shape=(len(masks), *shape)).any(axis=0)
        values[:, ~valid] = np.nan
    return np.asarray(values.reshape(len(bands), -1), dtype="float64")
