"""The environment of the child: the user's own, without what QGIS put in for its own Python and libraries."""

from __future__ import annotations

import os
from collections.abc import Mapping

# Each of these makes another Python, or another GDAL, load the files of QGIS: the classical crash of its children.
REMOVED = (
    "PYTHONHOME", "PYTHONPATH", "PYTHONSTARTUP", "PYTHONEXECUTABLE", "PYTHONNOUSERSITE", "PYTHONPLATLIBDIR",
    "__PYVENV_LAUNCHER__", "VIRTUAL_ENV",
    "PROJ_LIB", "PROJ_DATA", "GDAL_DATA", "GDAL_DRIVER_PATH", "GDAL_PYTHON_DRIVER_PATH", "GEOTIFF_CSV",
    "OGR_DRIVER_PATH",
    "LD_LIBRARY_PATH", "LD_PRELOAD", "DYLD_LIBRARY_PATH", "DYLD_INSERT_LIBRARIES", "DYLD_FRAMEWORK_PATH",
    "QT_PLUGIN_PATH", "QGIS_PREFIX_PATH", "QGIS_PLUGINPATH", "QT_QPA_PLATFORM_PLUGIN_PATH",
)  # fmt: skip
KEPT_INSIDE_OSGEO4W = ("PYTHONHOME", "PROJ_LIB", "PROJ_DATA", "GDAL_DATA", "GDAL_DRIVER_PATH", "GEOTIFF_CSV")
CHILD = {"PYTHONUTF8": "1", "PYTHONIOENCODING": "utf-8", "PYTHONUNBUFFERED": "1", "NO_COLOR": "1"}
PROXY_NAMES = ("HTTP_PROXY", "HTTPS_PROXY")


def child_environment(
    environ: Mapping[str, str], executable: str = "", *, proxy: str | None = None, platform: str = os.name
) -> dict[str, str]:
    """Make the environment in which `executable` runs.

    An `rszsl` that lives inside OSGeo4W belongs to its Python, and keeps what that one needs; for all others the
    folders of OSGeo4W leave the PATH too, because Windows looks for libraries there.

    Args:
        environ: the variables of QGIS.
        executable: what will run.
        proxy: URL of the proxy in QGIS's settings; the user's own variables win over it.
        platform: `os.name`.
    """
    root = environ.get("OSGEO4W_ROOT", "")
    inside = bool(root) and _is_below(executable, root)
    gone = [name for name in REMOVED if not (inside and name in KEPT_INSIDE_OSGEO4W)]
    clean = {k: v for k, v in environ.items() if k.upper() not in gone}
    if platform == "nt" and root and not inside:
        for name in [k for k in clean if k.upper() == "PATH"]:
            clean[name] = ";".join(p for p in clean[name].split(";") if p and not _is_below(p, root))
    for name in PROXY_NAMES if proxy else ():
        if name not in clean and name.lower() not in clean:
            clean[name] = str(proxy)
    return {**clean, **CHILD}


def _is_below(path: str, root: str) -> bool:
    plain, folder = (text.replace("\\", "/").rstrip("/").casefold() for text in (path, root))
    return plain == folder or plain.startswith(folder + "/")


def proxy_url(kind: str, host: str, port: str, user: str = "", password: str = "") -> str | None:
    """Spell QGIS's proxy settings as a URL; None where they name none that pip and GDAL understand."""
    from urllib.parse import quote

    schemes = {"HttpProxy": "http", "HttpCachingProxy": "http", "Socks5Proxy": "socks5"}
    if not host or kind not in schemes:
        return None
    login = quote(user, safe="") + (":" + quote(password, safe="") if password else "") + "@" if user else ""
    return f"{schemes[kind]}://{login}{host}" + (f":{port}" if port and port != "0" else "")
