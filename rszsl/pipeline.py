"""From a scene to a file of labelled polygons: scene -> grid -> tiles -> encoder -> scores -> labels -> polygons.

`map_scene` does it all. Its parts (`plan_scene`, `label_tiles`, `write_map`) are there for other runners.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
from numpy.typing import NDArray

from rszsl.classes import ClassName, as_classes
from rszsl.errors import AoiError, OutputError, SceneError
from rszsl.labels.assign import Status, assign
from rszsl.labels.calibrate import score
from rszsl.labels.collect import Counts, SceneLabels
from rszsl.model.bundle import Model
from rszsl.model.card import ModelCard
from rszsl.model.checkpoint import load_model
from rszsl.model.encoder import ClassRows
from rszsl.options import MapOptions
from rszsl.output.record import RunRecord
from rszsl.output.regions import find_regions
from rszsl.output.tables import Vocabulary, region_table, tile_table
from rszsl.output.writer import FORMATS, Result, check_output, write_result
from rszsl.progress import Progress, Silent
from rszsl.scene.aoi import read_aoi
from rszsl.scene.georef import cell_polygons, geodesic_areas_m2
from rszsl.scene.reader import Scene, open_scene
from rszsl.tiling import SceneDataset, TileSampler, load_tiles

COARSER_WARNING = 2.0
"""A scene this many times coarser than the model expects is warned about, and is not upsampled further."""
VERSIONS_OF = ("rszsl", "torch", "timm", "torchgeo", "rasterio", "pyogrio", "shapely", "numpy")


@dataclass(frozen=True)
class MapResult:
    """What a map gave.

    Attributes:
        path: the output file.
        counts: planned = labelled + other + nodata + failed.
        warnings: what the user was told.
        seconds: from opening the scene to the file in its place.
    """

    path: Path
    counts: Counts
    warnings: tuple[str, ...]
    seconds: float

    @cached_property
    def tiles(self) -> gpd.GeoDataFrame:
        """The layer `tiles`, read when first asked for.

        Raises:
            OutputError: for a format that holds only regions.
        """
        if self.path.suffix != FORMATS["gpkg"].suffix:
            raise OutputError(f"{self.path} holds regions only; map to a GeoPackage to have the tiles")
        return gpd.read_file(self.path, layer="tiles")

    @cached_property
    def regions(self) -> gpd.GeoDataFrame:
        """The layer `regions`, read when first asked for."""
        if self.path.suffix == FORMATS["parquet"].suffix:
            return gpd.read_parquet(self.path)
        return gpd.read_file(self.path, layer="regions")


@dataclass(frozen=True)
class ScenePlan:
    """What will be read: a scene cut into tiles for a model."""

    scene: Scene
    dataset: SceneDataset
    sampler: TileSampler
    warnings: tuple[str, ...] = field(default=())


def map_scene(
    scene: str | Path,
    classes: str | Sequence[str | ClassName],
    *,
    output: str | Path | None = None,
    model: str | Model | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> MapResult:
    """Label the tiles of one scene and write them as polygons.

    Args:
        scene: any raster that rasterio opens: a file, `/vsi…`, `s3://…`, `https://…`.
        classes: `"solar farm,quarry"`, a list of names, or `ClassName` objects with synonyms.
        output: the file to write; default `<scene stem>.rszsl.gpkg` in the working directory.
        model: a bundled model's name, a model folder, or a loaded `Model`.
        progress: hears of every batch; default silent.
        **options: fields of `rszsl.options.MapOptions`.

    Raises:
        RszslError: one of its kinds, with a text for the user. Nothing is left under `output` then.
    """
    if isinstance(model, str):
        options["model"] = model
    chosen = MapOptions(**options)
    wanted = as_classes(classes)
    path = Path(output) if output is not None else default_output(str(scene), chosen.format)
    check_output(path, overwrite=chosen.overwrite)
    loaded = model if isinstance(model, Model) else load_model(chosen.model, device=chosen.device)
    return map_with(loaded, str(scene), wanted, path, chosen, progress or Silent())


def map_with(
    model: Model,
    scene: str,
    classes: tuple[ClassName, ...],
    path: Path,
    options: MapOptions,
    progress: Progress,
) -> MapResult:
    """Map one scene with a loaded model; `map_scene` and the command line both end here."""
    started, clock_s = datetime.now(UTC), time.monotonic()
    plan = plan_scene(scene, model.card, options)
    rows = model.class_rows(classes)
    warnings = plan.warnings + tuple(note for note in rows.notes if note)
    progress.start(scene, len(plan.sampler))
    for warning in warnings:
        progress.warn(warning)
    labels = label_tiles(plan, model, rows, options, progress)
    counts = _checked_counts(labels, scene)
    record = RunRecord(
        scene=scene,
        model=f"{model.card.name} {model.card.version}",
        model_sha256=model.card.sha256,
        classes=[asdict(c) for c in classes],
        options=options.to_record() | {"min_confidence": _threshold(options, model), "device": str(model.device)},
        radiometry=plan.scene.radiometry.to_record() | {"bands": plan.scene.bands},
        counts=counts.to_record(),
        started=started.isoformat(timespec="seconds"),
        seconds=time.monotonic() - clock_s,
        versions={name: version(name) for name in VERSIONS_OF},
    )
    words = Vocabulary(tuple(c.name for c in classes), rows.notes, model.attribute_names)
    write_map(plan, labels, words, record, path, options.format)
    result = MapResult(path, counts, warnings, time.monotonic() - clock_s)
    progress.done(str(path), summary(result))
    return result


def plan_scene(path: str, card: ModelCard, options: MapOptions) -> ScenePlan:
    """Open a scene and cut it into tiles of the model's size and GSD.

    Raises:
        SceneError: where it cannot be mapped.
        AoiError: where the area of interest is unusable or misses it.
    """
    scene = open_scene(
        path, bands=options.bands, value_ranges=options.value_ranges, crs=options.crs, gsd_m=options.gsd_m
    )
    dataset = SceneDataset(scene)
    roi = read_aoi(options.aoi, scene.crs) if options.aoi else None
    sampler = TileSampler(
        dataset, size_px=tile_size_px(scene, card), out_px=card.input_px, overlap=options.overlap, roi=roi
    )
    if options.aoi and not len(sampler):
        raise AoiError(f"the area of interest {options.aoi} does not overlap {path}; check its CRS and place")
    warnings = list(scene.warnings)
    if scene.gsd.mean_m > COARSER_WARNING * card.gsd_m:
        warnings.append(
            f"{path} has {scene.gsd.mean_m:.3g} m pixels, the model {card.name} expects {card.gsd_m:g} m: "
            "labels will be poor; use a finer scene or another --model"
        )
    return ScenePlan(scene, dataset, sampler, tuple(warnings))


def tile_size_px(scene: Scene, card: ModelCard) -> tuple[int, int]:
    """Height and width, in scene pixels, of the ground that the model expects in a tile.

    A coarse scene is upsampled at most `COARSER_WARNING` times; beyond that a tile covers more ground.
    """
    ground_m = card.input_px * card.gsd_m
    smallest_px = card.input_px / COARSER_WARNING
    return round(max(ground_m / scene.gsd.row_m, smallest_px)), round(max(ground_m / scene.gsd.col_m, smallest_px))


def label_tiles(plan: ScenePlan, model: Model, rows: ClassRows, options: MapOptions, progress: Progress) -> SceneLabels:
    """Read, encode and label every planned tile."""
    labels = SceneLabels(plan.sampler.tile_ids)
    start = 0
    for batch in load_tiles(plan.dataset, plan.sampler, batch_size=options.batch_size):
        labels.put_unread(start, batch.valid_fraction, batch.failures, options.min_valid)
        at = labels.pending(start, len(batch.tile_ids))
        if len(at):
            encoded = model.encode(batch.images[at - start])
            scores = score(encoded.attributes, rows.rows, model.background_rows, model.calibrator)
            labels.put_labels(at, assign(scores, encoded.attributes, rows.rows, _threshold(options, model)))
        start += len(batch.tile_ids)
        progress.advance(len(batch.tile_ids))
    return labels


def write_map(
    plan: ScenePlan, labels: SceneLabels, words: Vocabulary, record: RunRecord, path: Path, format_name: str
) -> None:
    """Make the tables of a labelled scene and write them.

    Raises:
        OutputError: where they cannot be written.
    """
    scene, grid = plan.scene, plan.sampler.grid
    cells = cell_polygons(grid, scene.transform)[labels.tile_ids]
    regions = find_regions(grid, labels.tile_ids, _labelled_choice(labels), labels.confidence[:, 0], scene.transform)
    areas_m2 = geodesic_areas_m2(regions.polygons, scene.crs)
    result = Result(
        tiles=tile_table(labels, grid, cells, words),
        regions=region_table(regions, words.classes, areas_m2),
        record=record,
        classes=words.classes,
        crs=scene.crs,
    )
    write_result(result, path, format_name)


def default_output(scene: str, format_name: str, folder: Path = Path()) -> Path:
    """`<scene stem>.rszsl.gpkg` in `folder` (the working directory)."""
    stem = Path(scene.rstrip("/").rpartition("/")[2] or scene).stem
    return folder / f"{stem}.rszsl{FORMATS[format_name].suffix}"


def summary(result: MapResult) -> str:
    """One line that adds up: `x.gpkg: 120 tiles = 100 labelled + 15 other + 5 nodata + 0 failed in 3.1 s`."""
    c = result.counts
    parts = f"{c.labelled} labelled + {c.other} other + {c.nodata} nodata + {c.failed} failed"
    return f"{result.path}: {c.planned} tiles = {parts} in {result.seconds:.1f} s"


def _threshold(options: MapOptions, model: Model) -> float:
    return model.min_confidence if options.min_confidence is None else options.min_confidence


def _labelled_choice(labels: SceneLabels) -> NDArray[np.int64]:
    return np.where(labels.is_status(Status.LABELLED), labels.choice[:, 0], -1)


def _checked_counts(labels: SceneLabels, scene: str) -> Counts:
    counts = labels.count()
    if not counts.adds_up:  # not the user's mistake: a defect, to be seen as one
        raise RuntimeError(f"{scene}: counts do not add up: {counts}")
    if counts.failed == counts.planned:
        raise SceneError(next(iter(labels.failures.values())))
    return counts
