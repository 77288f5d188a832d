"""Results of many scenes in one: a merged GeoPackage, or a GeoParquet dataset in parts.

A scene's result is stashed (Arrow on disk) until its file is written, so no more than one scene is ever in memory.
"""

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import shapely
from numpy.typing import NDArray
from pyproj import CRS, Transformer

from rszsl.output.record import RunRecord
from rszsl.output.tables import GEOMETRY
from rszsl.output.writer import Result, geoparquet_metadata, write_layers, writing

LAYERS = ("tiles", "regions")
SCENE = "scene"
RECORD_FILE, CRS_FILE = "record.json", "crs.json"
COMMON_CRS = CRS.from_epsg(4326)
"""Of a merged file whose scenes have several."""
ROWS = 65_536
_OPTIONS = pa.ipc.IpcWriteOptions(compression="zstd")
Points = NDArray[np.float64]


class Stash:
    """The result of one scene on disk, until it is part of a file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put(self, result: Result) -> None:
        """Keep a result; it is whole when its record is there."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for layer, rows in (("tiles", result.tiles), ("regions", result.regions.to_reader(max_chunksize=ROWS))):
            self._put_layer(layer, rows, result.record.scene)
        (self.folder / CRS_FILE).write_text(result.crs.to_json(), encoding="utf-8")
        (self.folder / RECORD_FILE).write_text(json.dumps(asdict(result.record)), encoding="utf-8")

    @property
    def whole(self) -> bool:
        """Whether it holds a result."""
        return (self.folder / RECORD_FILE).is_file()

    @property
    def crs(self) -> CRS:
        """Of the scene."""
        return CRS.from_json((self.folder / CRS_FILE).read_text(encoding="utf-8"))

    @property
    def record(self) -> RunRecord:
        """Of the run."""
        return RunRecord(**json.loads((self.folder / RECORD_FILE).read_text(encoding="utf-8")))

    def batches(self, layer: str) -> Iterator[pa.RecordBatch]:
        """Rows of a layer, piece by piece."""
        with pa.ipc.open_file(self._file(layer)) as file:
            for number in range(file.num_record_batches):
                yield file.get_batch(number)

    def schema(self, layer: str) -> pa.Schema:
        """Columns of a layer."""
        with pa.ipc.open_file(self._file(layer)) as file:
            return file.schema

    def drop(self) -> None:
        """Forget it."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _put_layer(self, layer: str, rows: pa.RecordBatchReader, scene: str) -> None:
        schema = pa.schema([pa.field(SCENE, pa.string()), *rows.schema])
        with pa.ipc.new_file(self._file(layer), schema, options=_OPTIONS) as to:
            for batch in rows:
                to.write_batch(pa.record_batch([pa.repeat(scene, len(batch)), *batch.columns], schema=schema))

    def _file(self, layer: str) -> str:
        return str(self.folder / f"{layer}.arrow")


def write_merged(stashes: Sequence[Stash], classes: tuple[str, ...], path: Path) -> CRS:
    """Write one GeoPackage of many scenes, with a column `scene`, whole or not at all.

    Returns:
        Its CRS: that of the scenes, or longitude and latitude where they differ.

    Raises:
        OutputError: where it cannot be written.
    """
    found = {stash.crs.to_json() for stash in stashes}
    crs = CRS.from_json(found.pop()) if len(found) == 1 else COMMON_CRS
    records = [stash.record for stash in stashes]
    with writing(path) as part:
        try:
            write_layers(part, crs, _stream(stashes, "tiles", crs), _stream(stashes, "regions", crs), records, classes)
        except RuntimeError as err:  # pyogrio's errors
            raise OSError(str(err)) from err
    return crs


def write_part(stashes: Sequence[Stash], folder: Path, crs_name: str, number: int) -> None:
    """Write, or write again, one file a layer of a GeoParquet dataset, and one of the runs.

    Scenes that the files hold already are replaced, so an interrupted or repeated call adds nothing twice.

    Raises:
        OutputError: where they cannot be written.
    """
    crs, records = stashes[0].crs, [stash.record for stash in stashes]
    fresh = pa.array([record.scene for record in records])
    for layer in LAYERS:
        path = part_path(folder, layer, crs_name, number)
        schema = stashes[0].schema(layer).with_metadata(geoparquet_metadata(crs))
        batches = (batch for stash in stashes for batch in stash.batches(layer))
        _rewrite(path, schema, batches, fresh)
    runs = pa.Table.from_pandas(pd.DataFrame([r.to_row() for r in records]), preserve_index=False)
    _rewrite(part_path(folder, "runs", crs_name, number), runs.schema, iter(runs.to_batches()), fresh)


def part_path(folder: Path, layer: str, crs_name: str, number: int) -> Path:
    """`tiles/crs=EPSG_32632/part-00007.parquet`: hive partitions by CRS, since a geometry column has but one."""
    return folder / layer / f"crs={crs_name}" / f"part-{number:05d}.parquet"


def _rewrite(path: Path, schema: pa.Schema, batches: Iterator[pa.RecordBatch], fresh: pa.Array) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with writing(path) as part, pq.ParquetWriter(part, schema, compression="zstd") as writer:
        if path.exists():
            with pq.ParquetFile(path) as file:
                for batch in file.iter_batches():
                    kept = batch.filter(pc.invert(pc.is_in(batch.column(SCENE), fresh)))
                    if len(kept):
                        writer.write_batch(pa.RecordBatch.from_arrays(kept.columns, schema=schema))
        for batch in batches:
            if len(batch):
                writer.write_batch(pa.RecordBatch.from_arrays(batch.columns, schema=schema))


def _stream(stashes: Sequence[Stash], layer: str, crs: CRS) -> pa.RecordBatchReader:
    schema = stashes[0].schema(layer)
    return pa.RecordBatchReader.from_batches(schema, _batches(stashes, layer, schema, crs))


def _batches(stashes: Sequence[Stash], layer: str, schema: pa.Schema, crs: CRS) -> Iterator[pa.RecordBatch]:
    at = schema.get_field_index(GEOMETRY)
    for stash in stashes:
        move = None if (own := stash.crs) == crs else _mover(own, crs)
        for batch in stash.batches(layer):
            columns = list(batch.columns)
            if move is not None:
                polygons = shapely.from_wkb(columns[at].to_numpy(zero_copy_only=False))
                columns[at] = pa.array(shapely.to_wkb(shapely.transform(polygons, move)), type=pa.binary())
            yield pa.RecordBatch.from_arrays(columns, schema=schema)


def _mover(own: CRS, crs: CRS) -> Callable[[Points], Points]:
    transformer = Transformer.from_crs(own, crs, always_xy=True)
    return lambda xy: np.column_stack(transformer.transform(xy[:, 0], xy[:, 1]))
