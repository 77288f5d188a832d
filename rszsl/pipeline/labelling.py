"""From what the model said to labels, tables and a file."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
from numpy.typing import NDArray

from rszsl.classes import ClassName
from rszsl.errors import OutputError, SceneError
from rszsl.labels.assign import Status, assign
from rszsl.labels.calibrate import Floats, Scores, score
from rszsl.labels.collect import STATUSES, Counts, SceneLabels
from rszsl.labels.encoded import EncodedTiles
from rszsl.labels.graph import grid_graph, neighbour_graph
from rszsl.labels.refine import NEIGHBOURS, presence_prior, refine
from rszsl.labels.voices import Listener
from rszsl.model.bundle import Model
from rszsl.model.encoder import ClassRows
from rszsl.output.record import RunRecord
from rszsl.output.regions import find_regions
from rszsl.output.tables import Vocabulary, region_table, tile_stream
from rszsl.output.writer import FORMATS, Result, write_result
from rszsl.pipeline.plan import Footing
from rszsl.progress import Progress
from rszsl.scene.georef import geodesic_areas_m2
from rszsl.scene.grid import Grid

VERSIONS_OF = ("rszsl", "torch", "timm", "torchgeo", "rasterio", "pyogrio", "shapely", "numpy")


@dataclass(frozen=True)
class MapResult:
    """What a map gave.

    Attributes:
        path: the output file.
        counts: planned = labelled + other + nodata + failed.
        warnings: what the user was told.
        seconds: from opening the scene to the file in its place.
        attention: the raster of attention maps, or None.
    """

    path: Path
    counts: Counts
    warnings: tuple[str, ...]
    seconds: float
    attention: Path | None = None

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


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be labelled, and where to.

    Attributes:
        classes: as given.
        rows: what they mean to the model.
        min_confidence: below, a tile is `other`.
        options: every option, for the record.
        path: the output.
        format_name: one of `FORMATS`.
        warnings: what the user should know of the classes.
        refine: whether the labelled tiles speak for each other.
        evidence: float32 (C,), share of examples in each row, or None.
    """

    classes: tuple[ClassName, ...]
    rows: ClassRows
    min_confidence: float
    options: dict[str, Any]
    path: Path
    format_name: str
    warnings: tuple[str, ...] = ()
    refine: bool = False
    evidence: Floats | None = None


class Clock:
    """When a run began, and how long it has taken."""

    def __init__(self) -> None:
        self.started = datetime.now(UTC).isoformat(timespec="seconds")
        self._start_s = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._start_s


def label_batches(
    batches: Iterable[EncodedTiles],
    tile_ids: NDArray[np.int64],
    model: Model,
    job: Job,
    progress: Progress,
    grid: Grid,
) -> SceneLabels:
    """Label every planned tile.

    Args:
        batches: in the order of `tile_ids`.
        tile_ids: int64 (n,), the plan.
        model: gives the background and the calibrator.
        job: gives the class rows and the threshold.
        progress: hears of every batch.
        grid: of the scene: which tiles lie side by side.
    """
    labels, start, kept = SceneLabels(tile_ids), 0, []
    listener = Listener(grid.shape[1], job.rows.rows, deaf=not model.attribute_names)
    for tiles in batches:
        labelled = _label(labels, start, tiles, model, job)
        shown = tiles.attributes[labelled - start]
        if job.refine:
            kept.append(shown)
        else:
            listener.hear(tile_ids[labelled], labels.choice[labelled, 0], shown)
        start += len(tiles)
        progress.advance(len(tiles))
    if kept:
        shown = np.concatenate(kept)
        _refine(labels, shown.astype("float32"), model, job, grid)
        labelled = np.flatnonzero(labels.is_status(Status.LABELLED))
        listener.hear(tile_ids[labelled], labels.choice[labelled, 0], shown)
    labels.voices = listener.end()
    return labels


def _label(labels: SceneLabels, start: int, tiles: EncodedTiles, model: Model, job: Job) -> NDArray[np.int64]:
    """Label a batch that starts at position `start` of the plan; give the positions of those that have a class."""
    labels.put_batch(start, tiles)
    at = start + np.flatnonzero(tiles.encoded)
    if len(at):
        attributes = tiles.attributes[tiles.encoded].astype("float32")
        scores = _scores(attributes, model, job)
        labels.put_labels(at, assign(scores, attributes, job.rows.rows, job.min_confidence))
    return np.asarray(at[labels.status[at] == STATUSES.index(Status.LABELLED)])


def _scores(attributes: Floats, model: Model, job: Job) -> Scores:
    rows = job.rows
    return score(attributes, rows.rows, model.background_rows, model.calibrator, job.evidence, rows.taught)


def write_map(
    footing: Footing, labels: SceneLabels, model: Model, job: Job, clock: Clock, beside: Sequence[Path] = ()
) -> MapResult:
    """Make the tables of a labelled scene, with the record of the run, and write them, with the files `beside` them.

    Raises:
        SceneError: where no tile could be read.
        OutputError: where the result cannot be written.
    """
    write_result(make_result(footing, labels, model, job, clock), job.path, job.format_name, beside)
    return MapResult(job.path, labels.count(), job.warnings, clock.seconds)


def make_result(footing: Footing, labels: SceneLabels, model: Model, job: Job, clock: Clock) -> Result:
    """Make the tables of a labelled scene, with the record of the run.

    Raises:
        SceneError: where no tile could be read.
    """
    counts = _checked_counts(labels, footing.scene)
    grid, words = footing.grid, Vocabulary(tuple(c.name for c in job.classes), job.rows.notes, model.attribute_names)
    chosen = np.where(labels.is_status(Status.LABELLED), labels.choice[:, 0], -1)
    regions = find_regions(grid, labels.tile_ids, chosen, labels.confidence[:, 0], footing.transform)
    rows = job.rows.rows[regions.class_id]
    spoken = labels.voices.of_areas(regions.areas, labels.tile_ids, rows) if labels.voices else None
    return Result(
        tiles=tile_stream(labels, grid, footing.transform, words),
        regions=region_table(regions, words, geodesic_areas_m2(regions.polygons, footing.crs), spoken),
        record=_record(footing, counts, model, job, clock),
        classes=words.classes,
        crs=footing.crs,
    )


def _refine(labels: SceneLabels, attributes: Floats, model: Model, job: Job, grid: Grid) -> None:
    """Choose again among the classes that each labelled tile accepts; `attributes` (m, K) are theirs, in order."""
    at = np.flatnonzero(labels.is_status(Status.LABELLED))
    if len(at) < 2 or len(job.classes) < 2:
        return
    rows = job.rows.rows
    scores = _scores(attributes, model, job)
    graph = neighbour_graph(attributes, NEIGHBOURS) + grid_graph(labels.tile_ids[at], grid.shape[1], attributes)
    posterior = refine(attributes, presence_prior(scores.confidence, job.min_confidence), graph)
    labels.put_labels(at, assign(scores, attributes, rows, job.min_confidence, posterior))


def summary(result: MapResult) -> str:
    """One line that adds up: `x.gpkg: 120 tiles = 100 labelled + 15 other + 5 nodata + 0 failed in 3.1 s`."""
    c = result.counts
    parts = f"{c.labelled} labelled + {c.other} other + {c.nodata} nodata + {c.failed} failed"
    return f"{result.path}: {c.planned} tiles = {parts} in {result.seconds:.1f} s"


def _record(footing: Footing, counts: Counts, model: Model, job: Job, clock: Clock) -> RunRecord:
    return RunRecord(
        scene=footing.scene,
        model=f"{model.card.name} {model.card.version}",
        model_sha256=model.card.sha256,
        classes=[asdict(c) for c in job.classes],
        options=job.options,
        radiometry=footing.radiometry,
        counts=counts.to_record(),
        started=clock.started,
        seconds=clock.seconds,
        versions={name: version(name) for name in VERSIONS_OF},
    )


def _checked_counts(labels: SceneLabels, scene: str) -> Counts:
    counts = labels.count()
    if not counts.adds_up:  # not the user's mistake: a defect, to be seen as one
        raise RuntimeError(f"{scene}: counts do not add up: {counts}")
    if counts.failed == counts.planned:
        raise SceneError(next(iter(labels.failures.values())))
    return counts
