"""What will be read: a scene cut into tiles of the model's size and GSD."""

import logging
import math
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import shapely
from affine import Affine
from pyproj import CRS

from rszsl.errors import AoiMissError
from rszsl.model.bundle import Model
from rszsl.model.card import ModelCard
from rszsl.options import MapOptions
from rszsl.output.cache import CacheKey
from rszsl.output.writer import FORMATS
from rszsl.scene.aoi import read_aoi
from rszsl.scene.fingerprint import fingerprint
from rszsl.scene.grid import Grid
from rszsl.scene.reader import Scene, open_scene

if TYPE_CHECKING:
    from rszsl.tiling import SceneDataset, TileSampler

LOG = logging.getLogger(__name__)
COARSER_LIMIT = 2.0
"""A scene more than this many times coarser than the model expects is warned about."""


@dataclass(frozen=True, slots=True)
class Footing:
    """Where labelled tiles lie; from an open scene, or from a cache that remembers one.

    Attributes:
        scene: path as given.
        grid: that tile numbers refer to.
        transform: pixel to CRS.
        crs: of the scene.
        radiometry: bands, ranges and where they come from, for the record.
    """

    scene: str
    grid: Grid
    transform: Affine
    crs: CRS
    radiometry: dict[str, Any]

    @classmethod
    def of_cache(cls, key: CacheKey) -> "Footing":
        """Take it from a cache."""
        return cls(key.scene, key.grid, key.affine, key.pyproj_crs, key.radiometry)


@dataclass(frozen=True)
class ScenePlan:
    """A scene, its tiles, and what the user should know about both."""

    scene: Scene
    dataset: "SceneDataset"
    sampler: "TileSampler"
    aoi: shapely.Geometry | None
    warnings: tuple[str, ...]

    @property
    def footing(self) -> Footing:
        """Where the tiles lie."""
        scene = self.scene
        radiometry = scene.radiometry.to_record() | {"bands": scene.bands}
        return Footing(scene.path, self.sampler.grid, scene.transform, scene.crs, radiometry)


def plan_scene(path: str, card: ModelCard, options: MapOptions) -> ScenePlan:
    """Open a scene and cut it into tiles.

    Raises:
        SceneError: where it cannot be mapped.
        AoiError: where the area of interest is unusable.
        AoiMissError: where it does not overlap the scene.
    """
    scene = open_scene(
        path, bands=options.bands, value_ranges=options.value_ranges, crs=options.crs, gsd_m=options.gsd_m
    )
    aoi = read_aoi(options.aoi, scene.crs) if options.aoi else None
    # torchgeo takes seconds to import, and who labels a cache needs none of it.
    from rszsl.tiling import SceneDataset, TileSampler

    dataset = SceneDataset(scene)
    size_px = tile_size_px(scene, card, options.overlap)
    sampler = TileSampler(dataset, size_px=size_px, out_px=card.input_px, overlap=options.overlap, roi=aoi)
    if not len(sampler):
        raise AoiMissError(f"the area of interest {options.aoi} does not overlap {path}; check its CRS and place")
    plan = ScenePlan(scene, dataset, sampler, aoi, (*scene.warnings, *_gsd_warning(scene, card)))
    _log(plan, size_px)
    return plan


def _log(plan: ScenePlan, size_px: tuple[int, int]) -> None:
    scene, grid = plan.scene, plan.sampler.grid
    LOG.info("scene %s: %d x %d px of %.3g m", scene.path, scene.width_px, scene.height_px, scene.gsd.mean_m)
    LOG.info("read as %s", plan.footing.radiometry)
    LOG.info("grid of %d x %d tiles of %d x %d px, %d planned", *grid.shape[::-1], *size_px[::-1], len(plan.sampler))


def plan_rows(plan: ScenePlan, first_row: int, stop_row: int) -> ScenePlan:
    """Keep the planned tiles of the tile rows `first_row <= row < stop_row`; grid and radiometry stay the scene's."""
    rows = plan.sampler.tile_ids // plan.sampler.grid.shape[1]
    sampler = copy(plan.sampler)
    sampler.tile_ids = plan.sampler.tile_ids[(rows >= first_row) & (rows < stop_row)]
    return replace(plan, sampler=sampler)


def tile_size_px(scene: Scene, card: ModelCard, overlap: float = 0.0) -> tuple[int, int]:
    """Height and width, in scene pixels, of the ground that the model is shown in a tile.

    A scene that is coarser than the model expects is not enlarged: its tiles cover more ground (decision 0051), but no
    more than the scene does. With an overlap, sizes are rounded, by 1 % at most, so that tiles begin at whole pixels of
    the resampled scene and of the overview that it comes from: it is then resampled once.
    """
    sizes = [_ground_m(scene, card) / side_m for side_m in (scene.gsd.row_m, scene.gsd.col_m)]
    step = card.input_px // math.gcd(card.input_px, math.floor(card.input_px * overlap))
    overviews = scene.layout.overviews_for([size / card.input_px for size in sizes]) if overlap else ()
    row_px, col_px = (_rounded(size, (step * max(overviews, default=1), step)) for size in sizes)
    return row_px, col_px


def _ground_m(scene: Scene, card: ModelCard) -> float:
    """Metres on the ground along a tile's side."""
    whole_m = min(scene.height_px * scene.gsd.row_m, scene.width_px * scene.gsd.col_m)
    coarse_m = card.input_px * max(scene.gsd.row_m, scene.gsd.col_m)
    return max(card.input_px * card.gsd_m, min(coarse_m, whole_m))


def _rounded(size_px: float, steps: tuple[int, ...]) -> int:
    """To a multiple of the first step that changes it by 1 % at most, or to a whole number."""
    nearest = (round(size_px / step) * step for step in steps)
    return next((near for near in nearest if abs(near - size_px) <= 0.01 * size_px), round(size_px))


def cache_key(plan: ScenePlan, model: Model, options: MapOptions) -> CacheKey:
    """Say what a cache of this plan belongs to."""
    scene, card = plan.scene, model.card
    return CacheKey(
        scene=scene.path,
        fingerprint=fingerprint(scene),
        size_px=(scene.height_px, scene.width_px),
        transform=tuple(scene.transform)[:6],
        crs=scene.crs.to_wkt(),
        tile_px=tile_size_px(scene, card, options.overlap),
        overlap=options.overlap,
        aoi=shapely.to_wkb(plan.aoi, hex=True) if plan.aoi is not None else None,
        radiometry=plan.footing.radiometry,
        min_valid=options.min_valid,
        model=card.name,
        model_sha256=card.sha256,
        precision=model.precision,
        views=options.views,
    )


def default_output(scene: str, format_name: str, folder: Path = Path()) -> Path:
    """`<scene stem>.rszsl.gpkg` in `folder` (the working directory)."""
    return folder / f"{_stem(scene)}.rszsl{FORMATS[format_name].suffix}"


def default_cache(scene: str, folder: Path = Path()) -> Path:
    """`<scene stem>.rszsl-cache` in `folder` (the working directory)."""
    return folder / f"{_stem(scene)}.rszsl-cache"


def _stem(scene: str) -> str:
    return Path(scene.rstrip("/").rpartition("/")[2] or scene).stem


def _gsd_warning(scene: Scene, card: ModelCard) -> tuple[str, ...]:
    if scene.gsd.mean_m <= COARSER_LIMIT * card.gsd_m:
        return ()
    return (
        f"{scene.path} has {scene.gsd.mean_m:.3g} m pixels, the model {card.name} expects {card.gsd_m:g} m: a tile "
        f"covers {_ground_m(scene, card):.0f} m in place of {card.input_px * card.gsd_m:.0f} m, and small things "
        "cannot be seen; use a finer scene or another --model",
    )
