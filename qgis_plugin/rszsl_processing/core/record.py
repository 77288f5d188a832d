"""The record of the run in a GeoPackage, as text for the layers' metadata."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

SIMILAR = "similar"
"""The layer of `rszsl search`."""


def read_runs(gpkg: str) -> list[dict[str, Any]]:
    """The rows of the table `runs`, without QGIS's `fid`; none where the file has no such table."""
    try:
        with closing(sqlite3.connect(f"{Path(gpkg).resolve().as_uri()}?mode=ro", uri=True)) as db:
            db.row_factory = sqlite3.Row
            rows = [dict(row) for row in db.execute("SELECT * FROM runs")]
    except (sqlite3.Error, ValueError):
        return []
    return [{k: v for k, v in row.items() if k not in ("fid", "ogc_fid")} for row in rows]


def set_option(gpkg: Path, name: str, value: str) -> None:
    """Set an option in the record: what was made under another name is found where it is now."""
    with closing(sqlite3.connect(gpkg)) as db, db:
        for row, options in db.execute("SELECT rowid, options FROM runs").fetchall():
            corrected = json.dumps({**json.loads(options), name: value}, ensure_ascii=False)
            db.execute("UPDATE runs SET options = ? WHERE rowid = ?", (corrected, row))


def is_result(gpkg: str) -> bool:
    """Whether a file is a map or a list of similar tiles, which may be replaced."""
    return bool(read_runs(gpkg)) or count_similar(gpkg) is not None


def count_similar(gpkg: str) -> int | None:
    """How many tiles the layer `similar` has; None where that is not the one layer of the file."""
    try:
        with closing(sqlite3.connect(f"{Path(gpkg).resolve().as_uri()}?mode=ro", uri=True)) as db:
            layers = db.execute("SELECT table_name FROM gpkg_contents WHERE data_type = 'features'").fetchall()
            return db.execute("SELECT count(*) FROM similar").fetchone()[0] if layers == [(SIMILAR,)] else None
    except (sqlite3.Error, ValueError):
        return None


def record_text(rows: list[dict[str, Any]]) -> str:
    """A paragraph a run, `name: value` a line; class names are listed plainly."""
    return "\n\n".join("\n".join(f"{name}: {_plain(name, value)}" for name, value in row.items()) for row in rows)


def _plain(name: str, value: Any) -> Any:
    if name != "classes":
        return value
    try:
        return ", ".join(item["name"] for item in json.loads(value))
    except (TypeError, ValueError, KeyError):
        return value
