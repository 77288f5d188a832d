"""The record of a benchmark: figures with what they were measured on, by what, and how to do it again."""

import hashlib
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs" / "benchmarks"


def write_record(name, figures, *, seed, files: Iterable[Path] = (), root: Path = ROOT, **more):
    """Write `docs/benchmarks/<name>.json`; `files` are hashed by their paths under `root` and their contents."""
    record = {
        "command": " ".join(
            ["python", *(Path(a).relative_to(ROOT).as_posix() if Path(a).is_absolute() else a for a in sys.argv)]
        ),
        "git_revision": _git("rev-parse", "HEAD"),
        "uncommitted_changes": bool(_git("status", "--porcelain", "--", "rszsl", "models")),
        "seed": seed,
        "data_sha256": _hash(files, root),
        "machine": {"processor": _processor(), "cores": os.cpu_count(), "load_1min": round(os.getloadavg()[0], 1)},
        "versions": {name: version(name) for name in ("rszsl", "numpy", "scipy")}
        | {"python": platform.python_version()},
        **more,
        "figures": figures,
    }
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / f"{name}.json"
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(f"{path}:\n{json.dumps(figures, indent=1)}")


def _hash(files, root):
    digest = hashlib.sha256()
    listed = sorted(files)
    for path in listed:
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{path.relative_to(root).as_posix()}\0{content}\n".encode())
    return digest.hexdigest() if listed else None


def _git(*words):
    run = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True)
    return run.stdout.strip()


def _processor():
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
