"""The scenes of a folder, and where their maps go."""

from __future__ import annotations

import csv
from pathlib import Path

from rszsl_processing.core.errors import PluginError

DEFAULT_PATTERN = "*.tif;*.tiff;*.vrt;*.jp2"
SUFFIX = ".rszsl.gpkg"


def find_scenes(folder: str, pattern: str) -> list[Path]:
    """List the files that fit one of the patterns (`*.tif;*.jp2`); `**/*.tif` looks into subfolders too.

    Raises:
        PluginError: where there are none, or two maps would have the same name.
    """
    root = Path(folder)
    if not root.is_dir():
        raise PluginError(f"{folder} is no folder")
    patterns = [part.strip() for part in pattern.split(";") if part.strip()]
    if not patterns or any(Path(part).is_absolute() for part in patterns):
        raise PluginError(f'the pattern "{pattern}" is none; write it like {DEFAULT_PATTERN}')
    scenes = sorted({path for part in patterns for path in root.glob(part) if path.is_file()})
    if not scenes:
        raise PluginError(f'no file in {folder} fits "{pattern}"')
    _refuse_same_names(scenes)
    return scenes


def result_name(scene: Path) -> str:
    """The name that `rszsl map --out` gives the map of a scene."""
    return scene.stem + SUFFIX


def write_list(path: Path, scenes: list[str]) -> None:
    """Write a CSV with the column `scene`, as `rszsl batch` reads it; names may hold commas and line ends."""
    with path.open("w", encoding="utf-8", newline="") as sink:
        csv.writer(sink).writerows([["scene"], *([scene] for scene in scenes)])


def _refuse_same_names(scenes: list[Path]) -> None:
    seen = {}
    for scene in scenes:
        name = result_name(scene).casefold()
        if name in seen:
            raise PluginError(f"{seen[name]} and {scene} would both be written to {result_name(scene)}; map them apart")
        seen[name] = scene
