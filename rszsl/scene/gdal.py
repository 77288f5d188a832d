"""How GDAL is set up wherever pixels are read, and how a raster is opened."""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import rasterio
from rasterio.env import get_gdal_config, set_gdal_config
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
CACHE_OPTION, CACHE_BYTES = "GDAL_CACHEMAX", 128_000_000
"""GDAL keeps decoded blocks up to 5 % of the machine's memory, and fills that with any large scene. Blocks are read
once here, so the cache need hold only what neighbouring reads share: a row of blocks of a scene 80 000 pixels wide."""
UNBOUNDED = get_gdal_config(CACHE_OPTION)
"""What it is in this process, where nobody bounds it."""


def gdal_env(path: str) -> rasterio.Env:
    """Settings for reading `path`; the user's own GDAL_CACHEMAX, in the environment or a `rasterio.Env`, stays."""
    options: dict[str, Any] = dict(REMOTE_OPTIONS) if _is_remote(path) else {}
    return rasterio.Env(**options | ({} if _is_bounded_by_user() else {CACHE_OPTION: CACHE_BYTES}))


@contextmanager
def reading(path: str) -> Iterator[None]:
    """Set what `gdal_env` does, for a read from an open handle: of a local file without an Env, which takes longer."""
    if _is_remote(path):
        with gdal_env(path):
            yield
    elif _is_bounded_by_user():
        yield
    else:
        before = get_gdal_config(CACHE_OPTION)
        set_gdal_config(CACHE_OPTION, CACHE_BYTES)
        try:
            yield
        finally:
            # What another thread's read had set is not what was there before.
            set_gdal_config(CACHE_OPTION, UNBOUNDED if before == CACHE_BYTES else before)


def user_options() -> dict[str, Any]:
    """Options of the `rasterio.Env` around the caller; a new thread does not inherit them."""
    return dict(rasterio.env.getenv()) if rasterio.env.hasenv() else {}


def _is_remote(path: str) -> bool:
    return "://" in path or path.startswith(REMOTE_PREFIXES)


def _is_bounded_by_user() -> bool:
    return CACHE_OPTION in os.environ or CACHE_OPTION in user_options()


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
