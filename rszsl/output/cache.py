"""The cache: what the model said of every tile of a scene, in one Parquet file that can be labelled again.

Columns: `tile_id`, `valid_fraction`, `failure`, `encoded`, and `embedding` and `attributes` as float16. What the
cache belongs to (scene, model, grid) stands in the file's metadata; a cache that fits something else is refused.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS

from rszsl.errors import CacheError
from rszsl.labels.encoded import EncodedTiles
from rszsl.output.part import Part
from rszsl.output.writer import writing, written
from rszsl.scene.grid import Grid

HEADER = b"rszsl"
FORMAT = 1
GROUP_ROWS = 8192
"""Rows of a row group, and of a batch that is read: some 10 MB."""
MATRICES = ("embedding", "attributes")


@dataclass(frozen=True, slots=True)
class CacheKey:
    """What a cache belongs to.

    Attributes:
        scene: path as given.
        fingerprint: of the scene's content.
        size_px: rows and columns of the scene.
        transform: six coefficients, pixel to CRS.
        crs: as WKT.
        tile_px: rows and columns of a tile, in scene pixels.
        overlap: fraction of a tile.
        aoi: WKB (hex) of the area of interest, or None.
        radiometry: bands, ranges and where they come from.
        min_valid: tiles below were not encoded.
        model: name of the model.
        model_sha256: of its weights.
        precision: of its arithmetic.
        views: of each tile that it saw.
    """

    scene: str
    fingerprint: str
    size_px: tuple[int, int]
    transform: tuple[float, ...]
    crs: str
    tile_px: tuple[int, int]
    overlap: float
    aoi: str | None
    radiometry: dict[str, Any]
    min_valid: float
    model: str
    model_sha256: str
    precision: str = "fp32"
    views: int = 1

    @property
    def grid(self) -> Grid:
        """The grid that the tiles' numbers refer to."""
        height_px, width_px = self.tile_px
        return Grid.over(*self.size_px, tile_height_px=height_px, tile_width_px=width_px, overlap=self.overlap)

    @property
    def affine(self) -> Affine:
        """Pixel to CRS."""
        return Affine(*self.transform)

    @property
    def pyproj_crs(self) -> CRS:
        """The scene's CRS."""
        return CRS.from_wkt(self.crs)

    def differences(self, other: "CacheKey") -> list[str]:
        """Names of what differs, the scene's path aside: a scene may be moved."""
        mine, theirs = self.to_json(), other.to_json()
        return [name for name in mine if name != "scene" and mine[name] != theirs[name]]

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain


@dataclass(frozen=True, slots=True)
class Cache:
    """An open cache: `key` says what it belongs to, `tile_ids` (n,) which tiles it holds, in plan order."""

    path: Path
    key: CacheKey
    tile_ids: NDArray[np.int64]

    def batches(self, *matrices: str) -> Iterator[EncodedTiles]:
        """Read the tiles back, `GROUP_ROWS` at a time.

        Args:
            *matrices: `embedding` or `attributes`, to read one alone: the other has no columns then.

        Raises:
            CacheError: where the file is damaged.
        """
        columns = ["tile_id", "valid_fraction", "failure", "encoded", *(matrices or MATRICES)]
        with _readable(self.path) as file:
            for batch in file.iter_batches(GROUP_ROWS, columns=columns):
                yield _from_arrow(pa.Table.from_batches([batch]))


def open_cache(path: Path) -> Cache:
    """Open a cache.

    Raises:
        CacheError: where it is missing, damaged, or no cache of this version.
    """
    with _readable(path) as file:
        header = json.loads((file.schema_arrow.metadata or {}).get(HEADER, b"{}"))
        if header.get("format") != FORMAT:
            raise CacheError(f"{path} is no cache of this rszsl; make it again with rszsl embed")
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in header["key"].items()}
        key = CacheKey(**values)
        return Cache(path, key, file.read(columns=["tile_id"])["tile_id"].to_numpy())


def check_fits(cache: Cache, expected: CacheKey) -> None:
    """Refuse a stale cache.

    Raises:
        CacheError: naming what differs.
    """
    if found := cache.key.differences(expected):
        raise CacheError(
            f"{cache.path} does not fit this run: {', '.join(found)} differ; name another --cache or delete it"
        )


@contextmanager
def write_cache(path: Path, key: CacheKey) -> Iterator["CacheWriter"]:
    """Write a cache batch by batch; it appears under `path` when the block ends well.

    What was written by a run that did not end well is kept beside it, for the next one with the same key.

    Raises:
        CacheError: where another run is writing it.
        OutputError: where it cannot be written.
    """
    sink = CacheWriter(path, key)
    whole = False
    try:
        yield sink
        sink.finish()
        whole = True
    finally:
        sink.close(drop=whole)


class CacheWriter:
    """Appends batches to an unfinished cache (`rszsl.output.part`), and makes the cache of them.

    Attributes:
        kept: how many tiles an interrupted run left.
    """

    def __init__(self, path: Path, key: CacheKey) -> None:
        self._path = path
        self._header = {HEADER: json.dumps({"format": FORMAT, "key": key.to_json()}).encode()}
        self._part = Part(path)
        schema = self._part.schema()
        if schema is None or not _fits(schema, key):
            self._part.clear()
        self.kept = sum(len(batch) for batch in self._part.batches())

    def batches(self) -> Iterator[EncodedTiles]:
        """Read back what is there, in the order in which it was written."""
        for batch in self._part.batches():
            yield _from_arrow(pa.Table.from_batches([batch]))

    def append(self, tiles: EncodedTiles) -> None:
        """Write one batch."""
        (batch,) = _to_arrow(tiles).replace_schema_metadata(self._header).to_batches()
        with written(self._path):
            self._part.append(batch)

    def finish(self) -> None:
        """Make the cache of all batches."""
        batches = self._part.batches()
        first = next(batches, None)
        if first is None:
            return
        with writing(self._path) as temporary, pq.ParquetWriter(temporary, first.schema, compression="zstd") as file:
            waiting = [first]
            for batch in batches:
                waiting.append(batch)
                if sum(map(len, waiting)) >= GROUP_ROWS:
                    file.write_table(pa.Table.from_batches(waiting))
                    waiting = []
            if waiting:
                file.write_table(pa.Table.from_batches(waiting))

    def close(self, *, drop: bool) -> None:
        """Let go of the unfinished cache; delete it where asked to."""
        self._part.close(drop=drop)


def _fits(schema: pa.Schema, key: CacheKey) -> bool:
    """Whether an unfinished cache is of this version and belongs to the same."""
    header = json.loads((schema.metadata or {}).get(HEADER, b"{}"))
    theirs, mine = header.get("key", {}), key.to_json()
    same = all(theirs.get(name) == value for name, value in mine.items() if name != "scene")
    return header.get("format") == FORMAT and theirs.keys() == mine.keys() and same


def _to_arrow(tiles: EncodedTiles) -> pa.Table:
    columns = {
        "tile_id": tiles.tile_ids,
        "valid_fraction": tiles.valid_fraction,
        "failure": pa.array(tiles.failures, type=pa.string()),
        "encoded": tiles.encoded,
    }
    for name in MATRICES:
        values = getattr(tiles, name)
        columns[name] = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])
    return pa.table(columns)


def _from_arrow(table: pa.Table) -> EncodedTiles:
    def matrix(name: str) -> NDArray[np.float16]:
        if name not in table.column_names:
            return np.empty((len(table), 0), dtype="float16")
        column = table[name].combine_chunks()
        width = column.type.list_size
        flat: NDArray[np.float16] = column.flatten().to_numpy()
        return flat.reshape(-1, width)

    return EncodedTiles(
        tile_ids=table["tile_id"].to_numpy(),
        valid_fraction=table["valid_fraction"].to_numpy(),
        failures=tuple(table["failure"].to_pylist()),
        encoded=table["encoded"].to_numpy(),
        embedding=matrix("embedding"),
        attributes=matrix("attributes"),
    )


@contextmanager
def _readable(path: Path) -> Iterator[pq.ParquetFile]:
    try:
        with pq.ParquetFile(path) as file:
            yield file
    except FileNotFoundError as err:
        raise CacheError(f"there is no cache {path}; make it with rszsl embed") from err
    except (pa.ArrowException, OSError) as err:
        raise CacheError(f"{path} is damaged or no cache ({err}); make it again with rszsl embed") from err
