"""One scene as a torchgeo dataset."""

from collections.abc import Callable, Sequence
from pathlib import Path

import geopandas as gpd
import pandas as pd
import shapely
import torch
from rasterio.crs import CRS as RasterioCRS
from torch import Tensor
from torchgeo.datasets import RasterDataset
from torchgeo.datasets.utils import GeoSlice

from rszsl.scene.grid import Box
from rszsl.scene.reader import Scene, open_scene


class SceneDataset(RasterDataset):
    """A raster as 0..1 red, green, blue and a mask of what is valid; indexed by torchgeo slices.

    Differs from `RasterDataset`: one file; windows are read in whole pixels and not warped; nodata comes back as
    `valid`, and invalid pixels never hold NaN; radiometry is decided once for the scene; resampling averages.
    Every entry of a sample is a tensor, so torch's own collate and `torchgeo.datasets.stack_samples` both work.

    Args:
        scene: a path or URL that rasterio opens, or a `Scene`.
        bands: three bands (1-based) as red, green, blue, or one; default by colour interpretation.
        transforms: applied to each sample.

    Raises:
        SceneError: as `rszsl.scene.reader.open_scene`.
    """

    def __init__(
        self,
        scene: str | Path | Scene,
        *,
        bands: Sequence[int] | None = None,
        transforms: Callable[[dict[str, Tensor]], dict[str, Tensor]] | None = None,
    ) -> None:
        # RasterDataset.__init__ would open the file again, warp it, and lose --crs; only its index is needed.
        self.scene = scene if isinstance(scene, Scene) else open_scene(str(scene), bands=bands)
        self.paths = self.scene.path
        self.bands = tuple(str(b) for b in self.scene.bands)
        self.transforms = transforms
        self.cache = True
        transform = self.scene.transform
        self._res = (abs(transform.a), abs(transform.e))
        x, y = self.slices(Box(0, 0, self.scene.height_px, self.scene.width_px))
        footprint = shapely.box(x.start, y.start, x.stop, y.stop)
        interval = pd.IntervalIndex.from_tuples([(self.mint, self.maxt)], closed="both", name="datetime")
        crs = RasterioCRS.from_wkt(self.scene.crs.to_wkt())
        self.index = gpd.GeoDataFrame({"filepath": [self.paths]}, index=interval, geometry=[footprint], crs=crs)

    def __getitem__(self, query: GeoSlice) -> dict[str, Tensor]:
        """Read `[xmin:xmax:xres, ymin:ymax:yres]` (CRS units), edges rounded to whole pixels.

        Returns:
            `image` float32 (3, H, W) in 0..1; `valid` bool (H, W); `window` int64 (4,), row, column, height and
            width in scene pixels. H and W follow from the steps; without steps they are the scene's own pixels.

        Raises:
            IndexError: where the query misses the scene.
            SceneError: where the pixels cannot be read.
        """
        x, y = _complete(query) or self._disambiguate_slice(query)[:2]
        window = self._window(x, y)
        height_px = max(1, round((y.stop - y.start) / y.step))
        width_px = max(1, round((x.stop - x.start) / x.step))
        tile = self.scene.read(window, height_px=height_px, width_px=width_px)
        sample = {
            "image": torch.from_numpy(tile.image),
            "valid": torch.from_numpy(tile.valid),
            "window": torch.tensor([window.row_px, window.col_px, window.height_px, window.width_px]),
        }
        return sample if self.transforms is None else self.transforms(sample)

    def slices(self, window: Box, *, height_px: int | None = None, width_px: int | None = None) -> tuple[slice, slice]:
        """Give the query of a window, read as `height_px` x `width_px` (default: its own pixels)."""
        transform = self.scene.transform
        x = sorted(transform.c + transform.a * col for col in (window.col_px, window.end_col_px))
        y = sorted(transform.f + transform.e * row for row in (window.row_px, window.end_row_px))
        x_step = (x[1] - x[0]) / (width_px or window.width_px)
        y_step = (y[1] - y[0]) / (height_px or window.height_px)
        return slice(x[0], x[1], x_step), slice(y[0], y[1], y_step)

    def _window(self, x: slice, y: slice) -> Box:
        transform = self.scene.transform
        col0, col1 = sorted(round((v - transform.c) / transform.a) for v in (x.start, x.stop))
        row0, row1 = sorted(round((v - transform.f) / transform.e) for v in (y.start, y.stop))
        inside = col1 > 0 and row1 > 0 and col0 < self.scene.width_px and row0 < self.scene.height_px
        if not inside or col1 == col0 or row1 == row0:
            raise IndexError(f"query: {(x, y)} not found in index with bounds: {self.bounds}")
        return Box(row0, col0, row1 - row0, col1 - col0)


def _complete(query: GeoSlice) -> tuple[slice, slice] | None:
    """Give x and y where nothing of them is left to the index, which takes longer to ask than a tile to read."""
    if isinstance(query, slice) or len(query) < 2:
        return None
    x, y = query[0], query[1]
    return None if None in (x.start, x.stop, x.step, y.start, y.stop, y.step) else (x, y)
