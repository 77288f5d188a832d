"""The one writer of vector files. Everything is written under a temporary name and renamed when it is whole."""

import errno
import json
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pyogrio
from pyproj import CRS

from rszsl.errors import OutputError
from rszsl.output.record import RunRecord
from rszsl.output.styles import regions_qml, tiles_qml
from rszsl.output.tables import GEOMETRY, with_crs

GPKG_VERSION = "1.2"
"""GDAL's default, 1.4, makes QGIS 3.22 warn that it may support the file only in part."""

# As QGIS 3.22 writes it.
LAYER_STYLES = """
CREATE TABLE layer_styles (
  id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, f_table_catalog TEXT(256), f_table_schema TEXT(256),
  f_table_name TEXT(256), f_geometry_column TEXT(256), styleName TEXT(30), styleQML TEXT, styleSLD TEXT,
  useAsDefault BOOLEAN, description TEXT, owner TEXT(30), ui TEXT(30),
  update_time DATETIME DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ','now')))
"""


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """Everything that is written for one scene; `tiles` is a stream, which can be taken once."""

    tiles: pa.RecordBatchReader
    regions: pa.Table
    record: RunRecord
    classes: tuple[str, ...]
    crs: CRS


def write_geopackage(result: Result, path: Path) -> None:
    """Write layers `tiles` and `regions`, table `runs`, styles and metadata."""
    write_layers(path, result.crs, result.tiles, result.regions, [result.record], result.classes)


def write_layers(
    path: Path,
    crs: CRS,
    tiles: pa.Table | pa.RecordBatchReader,
    regions: pa.Table | pa.RecordBatchReader,
    records: Sequence[RunRecord],
    classes: tuple[str, ...],
) -> None:
    """Write a GeoPackage of one scene or of many: tables, or streams of them that are never whole in memory."""
    about = {
        "tiles": ("Tiles: one kept cell for each planned tile", tiles),
        "regions": ("Regions: adjacent cells of one class", regions),
    }
    for name, (description, table) in about.items():
        layer = {"IDENTIFIER": name, "DESCRIPTION": description}
        # Not of the file: of that GDAL leaves a copy beside it, NAME.gpkg.aux.xml, whenever somebody reads a layer.
        summary = {"layer_metadata": _summary(records)}
        _write_arrow(table, crs, path, "GPKG", layer=name, layer_options=layer, append=name != "tiles", **summary)
    rows = pd.DataFrame([record.to_row() for record in records])
    pyogrio.write_dataframe(rows, path, layer="runs", driver="GPKG", append=True)
    with closing(sqlite3.connect(path)) as db, db:
        _add_styles(db, {"tiles": tiles_qml(classes), "regions": regions_qml(classes)})


def write_geojson(result: Result, path: Path) -> None:
    """Write the regions as RFC 7946 GeoJSON, which is always in longitude and latitude."""
    _write_arrow(result.regions, result.crs, path, "GeoJSON", layer="regions", layer_options={"RFC7946": "YES"})


def write_flatgeobuf(result: Result, path: Path) -> None:
    """Write the regions as FlatGeobuf in the scene's CRS."""
    _write_arrow(result.regions, result.crs, path, "FlatGeobuf", layer="regions")


def write_parquet(result: Result, path: Path) -> None:
    """Write the regions as GeoParquet 1.0 in the scene's CRS."""
    pyarrow.parquet.write_table(result.regions.replace_schema_metadata(geoparquet_metadata(result.crs)), path)


def geoparquet_metadata(crs: CRS) -> dict[str, str]:
    """What makes a Parquet file with the column `geom` GeoParquet 1.0."""
    column = {"encoding": "WKB", "geometry_types": ["Polygon"], "crs": json.loads(crs.to_json())}
    return {"geo": json.dumps({"version": "1.0.0", "primary_column": GEOMETRY, "columns": {GEOMETRY: column}})}


@dataclass(frozen=True, slots=True)
class Format:
    """An output format: its suffix, its writer, and whether the record must stand beside it as JSON."""

    suffix: str
    write: Callable[[Result, Path], None]
    record_beside: bool = True


FORMATS = {
    "gpkg": Format(".gpkg", write_geopackage, record_beside=False),
    "geojson": Format(".geojson", write_geojson),
    "flatgeobuf": Format(".fgb", write_flatgeobuf),
    "parquet": Format(".parquet", write_parquet),
}


def check_output(path: Path, *, overwrite: bool, option: str = "--output") -> None:
    """Refuse, before any work is done, an output that exists or that cannot be written; `option` names it.

    Raises:
        OutputError: naming the path and the way out.
    """
    if path.is_dir():
        raise OutputError(f"{path} is a folder; name a file with {option}, or the folder with --out")
    if path.exists() and not overwrite:
        raise OutputError(f"{path} exists; give --overwrite to replace it, or another {option}")
    if not path.parent.is_dir():
        raise OutputError(f"the folder {path.parent} does not exist; create it or name another {option}")
    with writing(path) as part:
        part.touch()
        part.unlink()


def write_result(result: Result, path: Path, format_name: str, beside: Sequence[Path] = ()) -> None:
    """Write a result in one of `FORMATS`, whole or not at all; `beside` are finished files that go with it.

    Raises:
        OutputError: where it cannot be written; nothing is left under `path` then but what was there before.
    """
    chosen = FORMATS[format_name]
    with writing(path) as part, _gdal_errors():
        chosen.write(result, part)
        if chosen.record_beside:
            record = part.with_name(f"{path.name}.run.json")
            record.write_text(json.dumps(result.record.to_row(), indent=1, ensure_ascii=False), encoding="utf-8")
        for file in beside:
            file.replace(part.with_name(file.name))


def write_layer(table: pa.Table, crs: CRS, path: Path, layer: str, *, qml: str) -> None:
    """Write one layer of polygons with its style as a GeoPackage, whole or not at all.

    Raises:
        OutputError: where it cannot be written.
    """
    with writing(path) as part, _gdal_errors():
        _write_arrow(table, crs, part, "GPKG", layer=layer)
        with closing(sqlite3.connect(part)) as db, db:
            _add_styles(db, {layer: qml})


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """Give a temporary name beside `path`; when the block ends well, move what it wrote into place.

    Raises:
        OutputError: for whatever the disk or the driver said.
    """
    try:
        folder = Path(tempfile.mkdtemp(prefix=".rszsl-", dir=path.parent))
    except OSError as err:
        raise OutputError(f"cannot write into {path.parent}: {err.strerror}; name another --output") from err
    try:
        yield folder / path.name
        _move_all(sorted(folder.iterdir(), key=lambda p: p.name == path.name), path.parent)
    except (OSError, sqlite3.Error, pa.ArrowException) as err:
        raise OutputError(_explain(path, err)) from err
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _move_all(files: Sequence[Path], folder: Path) -> None:
    """Move files into a folder, all or none."""
    moved: list[Path] = []
    try:
        for file in files:
            moved.append(file.replace(folder / file.name))
    except OSError:
        for file in moved:
            file.unlink()
        raise


@contextmanager
def written(path: Path) -> Iterator[None]:
    """Say of whatever the disk refuses in this block that `path` could not be written.

    Raises:
        OutputError: for it.
    """
    try:
        yield
    except OSError as err:
        raise OutputError(_explain(path, err)) from err


@contextmanager
def _gdal_errors() -> Iterator[None]:
    """Turn what pyogrio raises, all of it RuntimeErrors, into an OSError."""
    try:
        yield
    except RuntimeError as err:
        raise OSError(str(err)) from err


def _explain(path: Path, err: Exception) -> str:
    full = getattr(err, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "full" in str(err)
    if full or shutil.disk_usage(path.parent).free < 1_000_000:
        return f"the disk of {path} is full; free some space or name another --output"
    return f"cannot write {path}: {err}"


def _write_arrow(table: pa.Table | pa.RecordBatchReader, crs: CRS, path: Path, driver: str, **options: Any) -> None:
    new_file = driver == "GPKG" and not options.get("append")
    pyogrio.write_arrow(
        with_crs(table, crs),
        path,
        driver=driver,
        geometry_name=GEOMETRY,
        geometry_type="Polygon",
        crs=crs.to_wkt(),
        dataset_options={"VERSION": GPKG_VERSION} if new_file else None,
        **options,
    )


def _summary(records: Sequence[RunRecord]) -> dict[str, str]:
    """What `ogrinfo` shows as a layer's metadata."""
    first = records[0]
    counts = ", ".join(f"{k} {sum(r.counts[k] for r in records)}" for k in first.counts)
    return {
        "scene": first.scene if len(records) == 1 else f"{len(records)} scenes, see the table runs",
        "model": first.model,
        "model_sha256": first.model_sha256,
        "tiles": counts,
    }


def _add_styles(db: sqlite3.Connection, styles: dict[str, str]) -> None:
    """Add one default style a layer, and register the table so that QGIS and GDAL both see it."""
    db.execute(LAYER_STYLES)
    db.execute(
        "INSERT INTO gpkg_contents (table_name, data_type, identifier, description, srs_id)"
        " VALUES ('layer_styles', 'attributes', 'layer_styles', '', 0)"
    )
    db.executemany(
        "INSERT INTO layer_styles (f_table_catalog, f_table_schema, f_table_name, f_geometry_column, styleName,"
        " styleQML, styleSLD, useAsDefault, description, owner) VALUES ('', '', ?, ?, ?, ?, '', 1, 'rszsl', '')",
        [(layer, GEOMETRY, "rszsl", qml) for layer, qml in styles.items()],
    )
