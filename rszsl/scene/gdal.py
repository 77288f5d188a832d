"""How GDAL is set up wherever pixels are read, and how a raster is opened."""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import rasterio
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from rszsl.errors import SceneError

REMOTE_OPTIONS = {
    # Do not list a bucket to open one file. On a local disk the listing stays: it finds .ovr, .msk and world files.
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_HTTP_MULTIPLEX": "YES",
    "GDAL_HTTP_MAX_RETRY": "3",
    "GDAL_HTTP_RETRY_DELAY": "1",
}
REMOTE_PREFIXES = ("/vsicurl", "/vsis3", "/vsigs", "/vsiaz", "/vsiadls", "/vsioss", "/vsiswift", "/vsihdfs")
CACHE_BYTES = 128_000_000
"""GDAL keeps decoded blocks up to 5 % of the machine's memory, and fills that with any large scene. Blocks are read
once here, so the cache need hold only what neighbouring reads share: a row of blocks of a scene 80 000 pixels wide."""


def gdal_env(path: str) -> rasterio.Env:
    """Settings for reading `path`; the user's own GDAL_CACHEMAX, in the environment or a `rasterio.Env`, stays."""
    remote = "://" in path or path.startswith(REMOTE_PREFIXES)
    options: dict[str, Any] = dict(REMOTE_OPTIONS) if remote else {}
    if "GDAL_CACHEMAX" not in os.environ and "GDAL_CACHEMAX" not in user_options():
        options["GDAL_CACHEMAX"] = CACHE_BYTES
    return rasterio.Env(**options)


def user_options() -> dict[str, Any]:
    """Options of the `rasterio.Env` around the caller; a new thread does not inherit them."""
    return dict(rasterio.env.getenv()) if rasterio.env.hasenv() else {}


@contextmanager
def opened(path: str, **how: Any) -> Iterator[Any]:
    """Open a raster quietly (a missing CRS is our own error) and turn GDAL's words into a SceneError."""
    try:
        with gdal_env(path), warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            source = rasterio.open(path, **how)
    except RasterioError as err:
        raise SceneError(f"cannot open {path} as a raster: {err}") from err
    with source:
        if source.count == 0:
            inner = ", ".join(source.subdatasets[:3]) or "none"
            raise SceneError(f"{path} has no bands of its own; name one of its subdatasets: {inner}")
        try:
            yield source
        except RasterioError as err:
            raise SceneError(f"cannot read {path}: {err}") from err
