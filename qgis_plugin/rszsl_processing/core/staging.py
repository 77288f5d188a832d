"""Results are made in a hidden folder beside their place and moved there when whole: a cancel leaves nothing."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rszsl_processing.core.errors import PluginError

PREFIX = ".rszsl-qgis-"


@contextmanager
def staging(folder: Path) -> Iterator[Path]:
    """Give a folder beside the results, and take it away with whatever is left in it.

    Raises:
        PluginError: where the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        stage = Path(tempfile.mkdtemp(prefix=PREFIX, dir=folder))
    except OSError as err:
        raise PluginError(f"cannot write into {folder}: {err.strerror or err}; choose another output") from err
    try:
        yield stage
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def put_in_place(made: Path, target: Path) -> None:
    """Move a whole result to its place.

    Raises:
        PluginError: where the place is taken by a file that is in use.
    """
    try:
        made.replace(target)
        for beside in ("-wal", "-shm", "-journal"):  # of the file that was replaced
            Path(f"{target}{beside}").unlink(missing_ok=True)
    except OSError as err:
        raise PluginError(
            f"cannot replace {target}: {err.strerror or err}; if it is open in QGIS, remove its layers, "
            "or choose another output"
        ) from err


@contextmanager
def cache_file(named: str) -> Iterator[str]:
    """Give the path of a cache for the command: a cache that is there as it is, a new one in a folder of its own.

    Raises:
        PluginError: where it cannot be made, or not be moved to its place.
    """
    target = Path(named).absolute()
    if not named or target.exists():
        yield named and str(target)
        return
    with staging(target.parent) as stage:
        made = stage / target.name
        yield str(made)
        if made.is_file():
            put_in_place(made, target)
