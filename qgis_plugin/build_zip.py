"""Build the plugin's zip for plugins.qgis.org, and check it: metadata, files, size.

usage: python qgis_plugin/build_zip.py [FOLDER]     (default: dist)
"""

from __future__ import annotations

import configparser
import sys
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
PLUGIN = HERE / "rszsl_processing"
LIMIT_BYTES = 1_000_000
SUFFIXES = (".py", ".txt", ".svg", ".vrt", "")
MANDATORY = (
    "name", "qgisMinimumVersion", "qgisMaximumVersion", "description", "about", "version", "author", "email",
    "homepage", "tracker", "repository", "license", "icon", "tags", "hasProcessingProvider", "category",
)  # fmt: skip
LONG_AGO = (2020, 1, 1, 0, 0, 0)  # the same files make the same zip


class PackagingError(Exception):
    """What is wrong with the plugin's files."""


def read_metadata(path: Path) -> dict[str, str]:
    """Read and check `metadata.txt`.

    Raises:
        PackagingError: naming what is missing.
    """
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(path.read_text(encoding="utf-8"))
    metadata = dict(parser["general"])
    missing = [key for key in MANDATORY if not metadata.get(key, "").strip()]
    if missing:
        raise PackagingError(f"{path} lacks {', '.join(missing)}")
    if not (path.parent / metadata["icon"]).is_file():
        raise PackagingError(f"{path} names the icon {metadata['icon']}, which is not there")
    return metadata


def plugin_files() -> dict[str, Path]:
    """Names in the zip and where they come from.

    Raises:
        PackagingError: for a file that does not belong into a plugin.
    """
    found = [path for path in sorted(PLUGIN.rglob("*")) if path.is_file() and "__pycache__" not in path.parts]
    stray = [path for path in found if path.suffix not in SUFFIXES or path.name.startswith(".")]
    if stray:
        raise PackagingError(f"does not belong into the plugin: {', '.join(map(str, stray))}")
    files = {f"{PLUGIN.name}/{path.relative_to(PLUGIN).as_posix()}": path for path in found}
    return {**files, f"{PLUGIN.name}/LICENSE": HERE / "LICENSE"}


def build_zip(folder: Path) -> Path:
    """Write `rszsl_processing-VERSION.zip`.

    Raises:
        PackagingError: where the plugin is incomplete or too large.
    """
    version = read_metadata(PLUGIN / "metadata.txt")["version"]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{PLUGIN.name}-{version}.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, source in plugin_files().items():
            entry = zipfile.ZipInfo(name, LONG_AGO)
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            archive.writestr(entry, source.read_bytes())
    size_bytes = path.stat().st_size
    if size_bytes > LIMIT_BYTES:
        path.unlink()
        raise PackagingError(f"the zip has {size_bytes} bytes, more than {LIMIT_BYTES}")
    return path


if __name__ == "__main__":
    try:
        print(build_zip(Path(sys.argv[1] if len(sys.argv) > 1 else "dist")))
    except PackagingError as err:
        sys.exit(f"error: {err}")
