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
from rszsl.output.writer import writing
from rszsl.scene.grid import Grid

HEADER = b"rszsl"
FORMAT = 1


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

    def batches(self) -> Iterator[EncodedTiles]:
        """Read the tiles back, a row group at a time.

        Raises:
            CacheError: where the file is damaged.
        """
        with _readable(self.path) as file:
            for group in range(file.num_row_groups):
                yield _from_arrow(file.read_row_group(group))


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

    Raises:
        OutputError: where it cannot be written.
    """
    with writing(path) as part:
        sink = CacheWriter(part, key)
        try:
            yield sink
        finally:
            sink.close()


class CacheWriter:
    """Appends batches as row groups."""

    def __init__(self, path: Path, key: CacheKey) -> None:
        self._path = path
        self._header = {HEADER: json.dumps({"format": FORMAT, "key": key.to_json()}).encode()}
        self._file: pq.ParquetWriter | None = None

    def append(self, tiles: EncodedTiles) -> None:
        """Write one batch."""
        table = _to_arrow(tiles).replace_schema_metadata(self._header)
        if self._file is None:
            self._file = pq.ParquetWriter(self._path, table.schema, compression="zstd")
        self._file.write_table(table)

    def close(self) -> None:
        """Finish the file."""
        if self._file is not None:
            self._file.close()


def _to_arrow(tiles: EncodedTiles) -> pa.Table:
    columns = {
        "tile_id": tiles.tile_ids,
        "valid_fraction": tiles.valid_fraction,
        "failure": pa.array(tiles.failures, type=pa.string()),
        "encoded": tiles.encoded,
    }
    for name in ("embedding", "attributes"):
        values = getattr(tiles, name)
        columns[name] = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])
    return pa.table(columns)


def _from_arrow(table: pa.Table) -> EncodedTiles:
    def matrix(name: str) -> NDArray[np.float16]:
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
