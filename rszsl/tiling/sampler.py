"""A sampler that tiles a scene without gap, double or loss."""

from collections.abc import Iterator
from copy import copy

import numpy as np
import shapely
from numpy.typing import NDArray

from rszsl.scene.georef import cell_polygons
from rszsl.scene.grid import Grid
from rszsl.tiling.compat import SamplerBase
from rszsl.tiling.dataset import SceneDataset


class TileSampler(SamplerBase):  # type: ignore[misc]  # the base depends on the torchgeo version
    """Yields the tiles of `rszsl.scene.grid.Grid`, row by row from the upper left, as torchgeo slices.

    Unlike torchgeo's grid samplers it starts at the first pixel, pulls the last row and column back inside the
    scene, and gives one (padded) tile where the scene is smaller than a tile.

    Args:
        dataset: the scene.
        size_px: a tile's height and width in scene pixels (one number for both).
        out_px: height and width of the samples (default: `size_px`, so nothing is resampled).
        overlap: fraction of a tile shared with its neighbour, 0 <= overlap < 1.
        roi: only tiles whose kept cell shares area with this geometry, in the scene's CRS.

    Attributes:
        grid: all tiles of the scene.
        tile_ids: int64 (n,), those that are yielded, in order.
        out_px: height and width of the samples.
    """

    strategy = "sequential"

    def __init__(
        self,
        dataset: SceneDataset,
        *,
        size_px: int | tuple[int, int],
        out_px: int | tuple[int, int] | None = None,
        overlap: float = 0.0,
        roi: shapely.Geometry | None = None,
    ) -> None:
        super().__init__(dataset)
        height_px, width_px = _pair(size_px)
        scene = dataset.scene
        self.grid = Grid.over(
            scene.height_px, scene.width_px, tile_height_px=height_px, tile_width_px=width_px, overlap=overlap
        )
        self.tile_ids: NDArray[np.int64] = np.arange(len(self.grid), dtype=np.int64)
        if roi is not None:
            self.tile_ids = cells_in(cell_polygons(self.grid, scene.transform), roi)
        self._dataset = dataset
        self.out_px = _pair(out_px if out_px is not None else size_px)

    def __iter__(self) -> Iterator[tuple[slice, slice]]:
        """Yield `[xmin:xmax:xres, ymin:ymax:yres]` of each tile."""
        height_px, width_px = self.out_px
        for tile_id in self.tile_ids:
            window = self.grid[int(tile_id)].window
            yield self._dataset.slices(window, height_px=height_px, width_px=width_px)

    def only(self, tile_ids: NDArray[np.int64]) -> "TileSampler":
        """Give a sampler of the same grid that yields these tiles alone, in this order: int64 (n,)."""
        fewer = copy(self)
        fewer.tile_ids = np.asarray(tile_ids, dtype="int64")
        return fewer

    def __len__(self) -> int:
        return len(self.tile_ids)


def cells_in(cells: NDArray[np.object_], area: shapely.Geometry) -> NDArray[np.int64]:
    """Tile numbers of the cells that share area with `area` (touching is not enough), ascending."""
    shapely.prepare(area)
    chosen = shapely.intersects(area, cells)
    chosen[chosen] = ~shapely.touches(area, cells[chosen])
    return np.flatnonzero(chosen).astype("int64")


def _pair(size: int | tuple[int, int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else size
