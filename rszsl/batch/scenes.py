"""The list of scenes: paths, globs, folders, text and CSV lists, STAC items."""

import csv
import glob
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pyarrow as pa
import pyarrow.parquet as pq

from rszsl.errors import BatchError

RASTERS = (".tif", ".tiff", ".vrt", ".jp2", ".img")
CSV_COLUMNS = ("scene", "path", "href", "url", "location")
GLOB_MARKS = frozenset("*?[")


@dataclass(frozen=True, slots=True)
class SceneRef:
    """One scene to be mapped.

    Attributes:
        path: what rasterio opens, absolute where it is a file of this machine.
        name: what its results are called; unique in the list.
    """

    path: str
    name: str

    @property
    def long_name(self) -> str:
        """A name that no other scene has: with a piece of the path's hash."""
        return f"{self.name}-{_mark(self.path)}"


def _mark(path: str) -> str:
    return hashlib.blake2b(path.encode(), digest_size=4).hexdigest()


def expand(sources: Iterable[str], asset: str | None = None) -> tuple[SceneRef, ...]:
    """Make the list of scenes, in order, each path once.

    Args:
        sources: paths and URLs; globs (`**` goes into folders); a folder (rasters that lie in it); `.txt` (a path a
            line, `#` comments); `.csv` with a column of `CSV_COLUMNS`; `.json`/`.geojson` with a STAC item or item
            collection; `.parquet` with STAC items (stac-geoparquet). Paths in a list are relative to it.
        asset: key of the asset that is the scene, for STAC; needed where items have several.

    Raises:
        BatchError: where a source cannot be read or gives no scene.
    """
    found: dict[str, str] = {}
    for source in sources:
        empty = True
        for path, name in _expand_one(source, asset):
            found.setdefault(path, name)
            empty = False
        if empty:
            raise BatchError(f"{source} gives no scene; name rasters, a folder, a glob, a list or STAC items")
    return tuple(_named(found))


def _expand_one(source: str, asset: str | None) -> Iterator[tuple[str, str]]:
    path = Path(source)
    if "://" not in source and path.is_dir():
        files = sorted(p for p in path.iterdir() if p.suffix.lower() in RASTERS)
        yield from (_local(str(p)) for p in files)
    elif "://" not in source and GLOB_MARKS & set(source) and not path.exists():
        yield from (_local(p) for p in sorted(glob.glob(source, recursive=True)) if not Path(p).is_dir())  # noqa: PTH207 - Path.glob takes no absolute pattern
    elif path.suffix.lower() in LISTS and "://" not in source:
        yield from _read_list(path, asset)
    else:
        yield _local(source)


def _read_list(path: Path, asset: str | None) -> Iterator[tuple[str, str]]:
    try:
        yield from LISTS[path.suffix.lower()](path, asset)
    except (OSError, UnicodeDecodeError, ValueError, KeyError, TypeError, csv.Error, pa.ArrowException) as err:
        raise BatchError(f"cannot read the list of scenes {path}: {type(err).__name__} {err}; see --help") from err


def _text(path: Path, asset: str | None) -> Iterator[tuple[str, str]]:
    for line in path.read_text(encoding="utf-8-sig").splitlines():
        if (kept := line.partition(" #")[0].strip()) and not kept.startswith("#"):
            yield _local(_beside(path, kept))


def _csv(path: Path, asset: str | None) -> Iterator[tuple[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file)
        columns = {name.strip().lower(): name for name in rows.fieldnames or ()}
        column = next((columns[name] for name in CSV_COLUMNS if name in columns), None)
        if column is None:
            raise BatchError(
                f"{path} has no column for the scene; name one of {', '.join(CSV_COLUMNS)} in its first line"
            )
        yield from (_local(_beside(path, row[column].strip())) for row in rows if (row[column] or "").strip())


def _stac_json(path: Path, asset: str | None) -> Iterator[tuple[str, str]]:
    document = json.loads(path.read_text(encoding="utf-8"))
    kind = document.get("type") if isinstance(document, dict) else None
    if kind not in ("Feature", "FeatureCollection"):
        raise BatchError(f"{path} is no STAC item or item collection (type {kind!r}); catalogues are not followed")
    for item in document["features"] if kind == "FeatureCollection" else [document]:
        yield _of_item(path, item["id"], item.get("assets") or {}, asset, _self_href(item))


def _stac_parquet(path: Path, asset: str | None) -> Iterator[tuple[str, str]]:
    with pq.ParquetFile(path) as file:
        missing = {"id", "assets"} - set(file.schema_arrow.names)
        if missing:
            raise BatchError(f"{path} holds no STAC items: it has no column {' and '.join(sorted(missing))}")
        for batch in file.iter_batches(columns=["id", "assets"]):
            for row in batch.to_pylist():
                assets = row["assets"]
                known = dict(assets) if isinstance(assets, list) else assets
                yield _of_item(path, row["id"], {k: v for k, v in known.items() if v}, asset, None)


LISTS = {
    ".txt": _text,
    ".csv": _csv,
    ".json": _stac_json,
    ".geojson": _stac_json,
    ".parquet": _stac_parquet,
}


def _of_item(path: Path, item_id: str, assets: dict[str, Any], asset: str | None, base: str | None) -> tuple[str, str]:
    key = asset or (next(iter(assets)) if len(assets) == 1 else None)
    if key is None or key not in assets:
        said = f'has no asset "{asset}"' if asset else "has several assets"
        raise BatchError(f"item {item_id} of {path} {said}; give --asset with one of: {', '.join(assets) or 'none'}")
    href = str(assets[key]["href"])
    absolute = "://" in href or href.startswith("/")
    return _local(href if absolute else urljoin(base, href) if base else _beside(path, href))[0], item_id


def _self_href(item: dict[str, Any]) -> str | None:
    links = (link.get("href") for link in item.get("links") or () if link.get("rel") == "self")
    return next((href for href in links if href and "://" in href), None)


def _beside(listed_in: Path, path: str) -> str:
    """A relative path in a list is relative to the list."""
    if "://" in path or path.startswith("/vsi") or Path(path).is_absolute():
        return path
    return str(listed_in.parent / path)


def _local(path: str) -> tuple[str, str]:
    """Path and stem; absolute where it is a file here (a worker has another working directory), links as they are."""
    absolute = str(Path(path).absolute()) if "://" not in path and not path.startswith("/vsi") else path
    return absolute, Path(path.rstrip("/").partition("?")[0].rpartition("/")[2] or path).stem


def _named(found: dict[str, str]) -> Iterator[SceneRef]:
    """Scenes of one name get a piece of their path's hash, which does not depend on the rest of the list."""
    uses = Counter(name.casefold() for name in found.values())
    for path, name in found.items():
        tail = f"-{_mark(path)}" if uses[name.casefold()] > 1 else ""
        yield SceneRef(path, name.replace("/", "_") + tail)
