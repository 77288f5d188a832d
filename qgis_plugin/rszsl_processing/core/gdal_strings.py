"""Which GDAL strings `rszsl` can open by itself, and how QGIS spells them."""

from __future__ import annotations

from pathlib import Path

# Only this process holds what is in memory; the GDAL of rasterio's wheels has no PostGIS raster driver.
ONLY_IN_QGIS = ("/vsimem/", "mem:", "pg:", "postgresql:", "<")
ADDITIONS = ("|option:", "|credential:", "|layerName=")


def opened_by_rszsl(source: str) -> str | None:
    """The source of a GDAL layer without QGIS's additions, or None where it must be exported."""
    plain = source
    if not _exists(source):
        for mark in ADDITIONS:
            plain = plain.partition(mark)[0]
    return None if not plain or plain.casefold().startswith(ONLY_IN_QGIS) else plain


def is_connection(text: str) -> bool:
    """Whether a text names a raster by a driver, a `/vsi` path or a URL, not by a plain path."""
    head = text.split("/", 1)[0]
    return text.startswith("/vsi") or "://" in text or (":" in head and len(head.split(":", 1)[0]) > 1)


def without_provider(text: str) -> str:
    """Take QGIS's own `gdal://` away."""
    return text[len("gdal://") :] if text.startswith("gdal://") else text


def _exists(path: str) -> bool:
    try:
        return Path(path).exists()
    except OSError:
        return False
