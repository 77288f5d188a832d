"""The commands that make an environment with rszsl in it: with uv where it is there, else venv and pip."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rszsl_processing.core.discovery import Machine
from rszsl_processing.core.errors import PluginError
from rszsl_processing.core.process import run_briefly

NEEDED_PYTHON = (3, 11)
TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"


@dataclass(frozen=True)
class Wish:
    """What to install, and from where.

    Attributes:
        folder: the environment.
        package: what pip takes: `rszsl`, `rszsl==0.1.0`, a folder, a wheel, a URL.
        wheels: folder of wheels to install from without a network, or "".
        cpu_only: take torch without CUDA, which spares some 5 GB.
    """

    folder: Path
    package: str = "rszsl"
    wheels: str = ""
    cpu_only: bool = False


def check_folder(folder: Path) -> None:
    """Refuse a folder that holds something else than an environment.

    Raises:
        PluginError: naming it.
    """
    if folder.exists() and not (folder / "pyvenv.cfg").is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise PluginError(f"{folder} is not empty and no Python environment; choose another folder")


def commands(wish: Wish, python: str | None, uv: str | None, machine: Machine) -> list[list[str]]:
    """The commands, in order.

    Raises:
        PluginError: where neither a Python that is new enough nor uv, which can fetch one, is there.
    """
    inner = str(wish.folder / ("Scripts/python.exe" if machine.windows else "bin/python"))
    is_there = (wish.folder / "pyvenv.cfg").is_file()
    if uv:
        make = [uv, "venv", "--python", python or f">={_dotted(NEEDED_PYTHON)}", str(wish.folder)]
        install = [uv, "pip", "install", "--python", inner]
    elif python or is_there:
        make = [str(python), "-m", "venv", str(wish.folder)]
        install = [inner, "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--progress-bar=off"]
    else:
        raise PluginError(
            f"no Python {_dotted(NEEDED_PYTHON)} or newer was found; install one from python.org (or uv), "
            "or name it in the parameter Python"
        )
    return ([] if is_there else [make]) + [install + rest for rest in _installs(wish)]


def _installs(wish: Wish) -> Iterator[list[str]]:
    offline = ["--no-index", f"--find-links={wish.wheels}"] if wish.wheels else []
    if wish.cpu_only:
        yield [*(offline or [f"--index-url={TORCH_CPU_INDEX}"]), "torch", "torchvision"]
    yield [*offline, "--upgrade", wish.package]


def find_uv(machine: Machine) -> str | None:
    """Where uv is, if anywhere."""
    on_path = shutil.which("uv", path=machine.environ.get("PATH", ""))
    name = "uv.exe" if machine.windows else "uv"
    usual = [machine.home / ".local" / "bin" / name, machine.home / ".cargo" / "bin" / name]
    return on_path or next((str(path) for path in usual if path.is_file()), None)


def find_python(named: str, machine: Machine, env: dict[str, str]) -> str | None:
    """The named Python, or the first of the platform's that is new enough.

    Raises:
        PluginError: where the named one is too old or does not run.
    """
    if named:
        if not _new_enough(named, env):
            raise PluginError(f"{named} is no Python {_dotted(NEEDED_PYTHON)} or newer with the module venv")
        return named
    return next((path for path in _pythons(machine) if _new_enough(path, env)), None)


def _pythons(machine: Machine) -> Iterator[str]:
    names = [f"python3.{minor}" for minor in (12, 13, 11, 14)] + ["python3", "python"]
    for name in names:
        found = shutil.which(name, path=machine.environ.get("PATH", ""))
        if found:
            yield found
    fixed = [Path("/usr/bin/python3"), Path("/usr/local/bin/python3"), Path("/opt/homebrew/bin/python3")]
    if machine.windows:
        root = Path(machine.environ.get("LOCALAPPDATA", "")) / "Programs" / "Python"
        fixed = sorted(root.glob("Python3*/python.exe"), reverse=True)
    yield from (str(path) for path in fixed if path.is_file())


def _new_enough(python: str, env: dict[str, str]) -> bool:
    asked = "import sys, venv, ensurepip; print('%d %d' % sys.version_info[:2])"
    code, out, _ = run_briefly([python, "-c", asked], env, timeout_s=20)
    try:
        return code == 0 and tuple(int(part) for part in out.split()) >= NEEDED_PYTHON
    except ValueError:
        return False


def _dotted(version: tuple) -> str:
    return ".".join(str(part) for part in version)
