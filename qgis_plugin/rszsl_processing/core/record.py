"""The record of the run in a GeoPackage, as text for the layers' metadata."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any


def read_runs(gpkg: str) -> list[dict[str, Any]]:
    """The rows of the table `runs`, without QGIS's `fid`; none where the file has no such table."""
    try:
        with closing(sqlite3.connect(f"{Path(gpkg).resolve().as_uri()}?mode=ro", uri=True)) as db:
            db.row_factory = sqlite3.Row
            rows = [dict(row) for row in db.execute("SELECT * FROM runs")]
    except (sqlite3.Error, ValueError):
        return []
    return [{k: v for k, v in row.items() if k not in ("fid", "ogc_fid")} for row in rows]


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
