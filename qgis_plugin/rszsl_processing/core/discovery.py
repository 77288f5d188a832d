"""Where the `rszsl` executable is: setting, environment variable, PATH, then the places where installers put it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

VARIABLE = "RSZSL_EXECUTABLE"
ADVICE = (
    "run the algorithm Install or update rszsl, or name the executable in Settings > Options > Processing > "
    "Providers > rszsl, or in the environment variable RSZSL_EXECUTABLE"
)


@dataclass(frozen=True)
class Place:
    """A place that was looked at."""

    path: str
    how: str
    found: bool


@dataclass(frozen=True)
class Search:
    """All places in their order; the first that was found is the one that runs."""

    places: tuple[Place, ...]

    @property
    def found(self) -> Place | None:
        """The executable, or None."""
        return next((place for place in self.places if place.found), None)

    @property
    def problem(self) -> str:
        """What to tell the user where there is no executable."""
        named = [p for p in self.places if not p.found and p.how in ("setting", VARIABLE)]
        lost = "".join(f" ({p.how}: {p.path} is no executable file)" for p in named)
        return f"the rszsl command was not found{lost}; {ADVICE}"


@dataclass(frozen=True)
class Machine:
    """What the search depends on, so that tests can make one up."""

    home: Path
    environ: Mapping[str, str]
    windows: bool = os.name == "nt"
    mac: bool = False

    @property
    def script(self) -> str:
        """Path of the command inside an environment."""
        return "Scripts/rszsl.exe" if self.windows else "bin/rszsl"


def this_machine() -> Machine:
    """The machine that QGIS runs on."""
    import sys

    return Machine(Path.home(), dict(os.environ), mac=sys.platform == "darwin")


def find_executable(setting: str, machine: Machine) -> Search:
    """Look at every place. A named one that is wrong ends the search: it would hide the user's mistake.

    Args:
        setting: the path in QGIS's settings, or "".
        machine: where to look.
    """
    for how, named in (("setting", setting), (VARIABLE, machine.environ.get(VARIABLE, ""))):
        if named.strip():
            path = _inside(Path(named.strip()).expanduser(), machine)
            return Search((Place(str(path), how, _runs(path)),))
    on_path = shutil.which("rszsl", path=machine.environ.get("PATH", ""))
    places = [Place(on_path or "rszsl", "PATH", on_path is not None)]
    places += [Place(str(path), how, _runs(path)) for how, path in _known_places(machine)]
    return Search(tuple(places))


def default_environment(machine: Machine) -> Path:
    """Where Install or update rszsl makes its environment: the user's own, shared by all QGIS profiles."""
    if machine.windows:
        base = Path(machine.environ.get("LOCALAPPDATA") or machine.home / "AppData" / "Local")
    elif machine.mac:
        base = machine.home / "Library" / "Application Support"
    else:
        base = Path(machine.environ.get("XDG_DATA_HOME") or machine.home / ".local" / "share")
    return base / "rszsl" / "env"


def python_beside(executable: str) -> str | None:
    """The Python of the environment that the executable stands in, where it is one."""
    folder = Path(executable).parent
    candidates = (folder / "python", folder / "python.exe", folder.parent / "python.exe")
    return next((str(path) for path in candidates if path.is_file()), None)


def _known_places(machine: Machine) -> Iterator[tuple[str, Path]]:
    home, script = machine.home, machine.script
    yield "made by the plugin", default_environment(machine) / script
    name = Path(script).name
    yield "pipx or uv tool", home / ".local" / "bin" / name
    for variable in ("VIRTUAL_ENV", "CONDA_PREFIX"):
        if machine.environ.get(variable):
            yield variable, Path(machine.environ[variable]) / script
    for folder in (".venv", "venv", ".venvs/rszsl", ".virtualenvs/rszsl", "rszsl/.venv", "rszsl/venv"):
        yield "virtual environment", home / folder / script
    for path in _conda_places(machine):
        yield "conda", path / script
    root = machine.environ.get("OSGEO4W_ROOT")
    if root:
        for python in _sorted(Path(root, "apps").glob("Python3*")):
            yield "OSGeo4W", python / script


def _conda_places(machine: Machine) -> Iterator[Path]:
    names = ("miniforge3", "mambaforge", "miniconda3", "anaconda3", "micromamba", ".conda")
    bases: list[Path] = [machine.home / name for name in names]
    bases += [Path("C:/ProgramData") / name for name in names] if machine.windows else [Path("/opt") / n for n in names]
    for base in bases:
        yield from (base, *_sorted((base / "envs").glob("*")))


def _sorted(paths: Iterable[Path]) -> list[Path]:
    try:
        return sorted(paths)
    except OSError:
        return []


def _inside(path: Path, machine: Machine) -> Path:
    """A setting may name the environment's folder instead of the command in it."""
    return path / machine.script if path.is_dir() else path


def _runs(path: Path) -> bool:
    try:
        return path.is_file() and os.access(path, os.X_OK)
    except OSError:
        return False
