"""Arrow tables of tiles and regions, with the column names of docs/OUTPUT.md."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import shapely
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS

from rszsl.classes import OTHER
from rszsl.labels.assign import RANKS, Status
from rszsl.labels.collect import STATUSES, SceneLabels
from rszsl.output.regions import Regions
from rszsl.output.wkb import cell_wkb
from rszsl.scene.grid import Grid

GEOMETRY = "geom"
BATCH_ROWS = 16_384
DECIMALS = 6
"""Confidences and contributions are written with this many decimals: float32 carries no more."""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Words behind the numbers of a `SceneLabels`: classes, their warnings, attributes.

    `attributes` is empty for a model that names none; the attribute columns are then null.
    """

    classes: tuple[str, ...]
    class_notes: tuple[str | None, ...]
    attributes: tuple[str, ...]


def tile_stream(labels: SceneLabels, grid: Grid, transform: Affine, words: Vocabulary) -> pa.RecordBatchReader:
    """Make the layer `tiles`, a row for each planned tile, as a stream: a batch is made when the writer takes it.

    A tile that is `other` names its best candidates as second and third choice; its own confidence is the
    probability that the best of them is absent.

    Args:
        labels: of n tiles.
        grid: numbers of `labels.tile_ids` refer to it.
        transform: pixel to CRS.
        words: names of classes and attributes.
    """
    make = partial(_tile_batch, grid=grid, transform=transform, words=words)
    batches = (make(labels.cut(start, start + BATCH_ROWS)) for start in range(0, len(labels.tile_ids), BATCH_ROWS))
    return pa.RecordBatchReader.from_batches(make(labels.cut(0, 0)).schema, batches)


def region_table(
    regions: Regions,
    words: Vocabulary,
    areas_m2: NDArray[np.float64],
    spoken: tuple[NDArray[np.int64], NDArray[np.float32]] | None = None,
) -> pa.Table:
    """Make the layer `regions`: a row for each connected area of one class.

    Args:
        regions: of r areas.
        words: names of classes and attributes.
        areas_m2: float64 (r,), geodesic.
        spoken: loudest attributes (r, 3) and their mean contributions (r, 3), as in `rszsl.labels.voices`.
    """
    none = np.full((len(regions.tiles), RANKS), -1)
    numbers, shares = spoken if spoken is not None else (none, none.astype("float32"))
    columns: dict[str, Any] = {
        "class": _names(words.classes, regions.class_id),
        "confidence_mean": _real(regions.confidence_mean),
        "confidence_max": _real(regions.confidence_max),
        "tiles": regions.tiles,
        "area_m2": np.round(areas_m2, 2),
        **_attributes(words, numbers, shares),
        GEOMETRY: pa.array(shapely.to_wkb(regions.polygons), type=pa.binary()),
    }
    return pa.table(columns)


def similar_table(
    tile_ids: NDArray[np.int64], grid: Grid, transform: Affine, similarity: NDArray[np.float32]
) -> pa.Table:
    """Make the layer `similar`: the tiles found by a search, best first."""
    row_px, col_px = _upper_left(grid, tile_ids)
    columns: dict[str, Any] = {
        "rank": np.arange(1, len(tile_ids) + 1),
        "tile_id": tile_ids,
        "row_px": row_px,
        "col_px": col_px,
        "similarity": _real(similarity),
        GEOMETRY: cell_wkb(grid, tile_ids, transform),
    }
    return pa.table(columns)


def with_crs(table: pa.Table | pa.RecordBatchReader, crs: CRS) -> pa.Table | pa.RecordBatchReader:
    """Mark the geometry column as WKB in `crs` (the GeoArrow extension type), as Arrow readers expect."""
    marks = {
        "ARROW:extension:name": "geoarrow.wkb",
        "ARROW:extension:metadata": f'{{"crs": {crs.to_json()}}}',
    }
    at = table.schema.get_field_index(GEOMETRY)
    schema = table.schema.set(at, table.schema.field(at).with_metadata(marks))
    if isinstance(table, pa.Table):
        return table.cast(schema)
    batches = (pa.RecordBatch.from_arrays(batch.columns, schema=schema) for batch in table)
    return pa.RecordBatchReader.from_batches(schema, batches)


def _tile_batch(labels: SceneLabels, grid: Grid, transform: Affine, words: Vocabulary) -> pa.RecordBatch:
    row_px, col_px = _upper_left(grid, labels.tile_ids)
    names, confidence, margin = _choices(labels, words.classes)
    columns: dict[str, Any] = {
        "tile_id": pa.array(labels.tile_ids),
        "row_px": pa.array(row_px),
        "col_px": pa.array(col_px),
        "status": _names([str(status) for status in STATUSES], labels.status),
        "class": names[0],
        "confidence": _real(confidence[:, 0]),
        "margin": _real(margin),
        "similarity": _real(labels.similarity),
    }
    for rank in range(1, RANKS):
        columns |= {f"class_{rank + 1}": names[rank], f"confidence_{rank + 1}": _real(confidence[:, rank])}
    named = labels.is_status(Status.LABELLED)
    columns |= _attributes(words, np.where(named[:, None], labels.attribute, -1), labels.contribution)
    columns["valid_fraction"] = _real(labels.valid_fraction)
    columns["note"] = _notes(labels, words)
    columns[GEOMETRY] = cell_wkb(grid, labels.tile_ids, transform)
    return pa.RecordBatch.from_pydict(columns)


def _upper_left(grid: Grid, tile_ids: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    row_edges, col_edges = grid.cell_edges()
    rows, cols = np.divmod(tile_ids, grid.shape[1])
    return row_edges[rows], col_edges[cols]


def _attributes(words: Vocabulary, numbers: NDArray[np.int64], shares: NDArray[np.float32]) -> dict[str, pa.Array]:
    """Columns of the loudest attributes (n, 3), -1 for none, and their contributions; null where none is named."""
    named = numbers if words.attributes else np.full_like(numbers, -1)
    columns = {}
    for rank in range(RANKS):
        columns[f"attribute_{rank + 1}"] = _names(words.attributes, named[:, rank])
        columns[f"contribution_{rank + 1}"] = _real(np.where(named[:, rank] >= 0, shares[:, rank], np.nan))
    return columns


def _choices(
    labels: SceneLabels, classes: tuple[str, ...]
) -> tuple[list[pa.Array], NDArray[np.float32], NDArray[np.float32]]:
    """Names by rank, confidences (n, 3) and margins (n,), with `other` moved in front where it won."""
    other = labels.is_status(Status.OTHER)
    absent = 1 - labels.confidence[:, :1]
    shifted = np.concatenate([absent, labels.confidence[:, :-1]], axis=1)
    confidence = np.where(other[:, None], shifted, labels.confidence)
    order = np.concatenate([np.full((len(other), 1), len(classes)), labels.choice[:, :-1]], axis=1)
    choice = np.where(other[:, None], order, labels.choice)
    margin = np.where(other, np.maximum(confidence[:, 0] - confidence[:, 1], 0), labels.margin)
    return [_names((*classes, OTHER), choice[:, rank]) for rank in range(RANKS)], confidence, margin


def _names(words: Sequence[str | None], numbers: NDArray[Any]) -> pa.Array:
    """Words by number, null for -1."""
    return pa.array(words, type=pa.string()).take(pa.array(numbers, mask=numbers < 0))


def _notes(labels: SceneLabels, words: Vocabulary) -> pa.Array:
    notes = _names(words.class_notes, np.where(labels.is_status(Status.LABELLED), labels.choice[:, 0], -1))
    if not labels.failures:
        return notes
    said = notes.to_pylist()
    for position, reason in labels.failures.items():
        said[position] = reason
    return pa.array(said, type=pa.string())


def _real(values: NDArray[Any]) -> pa.Array:
    """Rounded float64 with NaN as null."""
    return pa.array(np.round(values.astype("float64"), DECIMALS), from_pandas=True)
