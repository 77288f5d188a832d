"""QGIS with a home of its own, for the tests of the plugin: what they share."""

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import rasterio
from PIL import Image
from rasterio.transform import from_origin

from rszsl.output.styles import class_colours

ROOT = Path(__file__).resolve().parents[1]
CHECKOUT = os.environ.get("RSZSL_TEST_CHECKOUT", str(ROOT))
HERE = ROOT / "tests" / "qgis_plugin"
FAKE = HERE / "fake_rszsl.py"
SYSTEM_PYTHON = "/usr/bin/python3"
QGIS_PROCESS = "/usr/bin/qgis_process.bin"
UTM = "EPSG:32632"
LEFT, TOP, GSD_M = 500_000, 5_300_000, 2.0
TIMEOUT_S = 600
"""A busy machine is no failure."""


class Qgis:
    """QGIS with a home of its own, and `rszsl` behind a script, as an installer would leave it."""

    def __init__(self, home: Path):
        home.chmod(0o700)
        self.rszsl = home / "rszsl of the tests"
        self.rszsl.write_text(f'#!/bin/sh\nPYTHONPATH="{CHECKOUT}" exec "{sys.executable}" -m rszsl "$@"\n')
        self.rszsl.chmod(0o755)
        drop = ("PYTHONHOME", "PYTHONPATH", "PROJ_LIB", "GDAL_DATA", "VIRTUAL_ENV", "CONDA_PREFIX", "XDG_DATA_HOME")
        self.env = {k: v for k, v in os.environ.items() if k not in drop} | {
            "QT_QPA_PLATFORM": "offscreen", "XDG_RUNTIME_DIR": str(home), "HOME": str(home),
            "QGIS_PLUGINPATH": str(ROOT / "qgis_plugin"), "PYTHONDONTWRITEBYTECODE": "1",
            "RSZSL_EXECUTABLE": str(self.rszsl),
            # QGIS's own Python takes its home from the first python3 on PATH; one of a venv would crash it.
            "PATH": "/usr/bin:/bin",
        }  # fmt: skip

    def process(self, *arguments, **env):
        command = [QGIS_PROCESS, *map(str, arguments)]
        return subprocess.run(command, env=self.env | env, capture_output=True, text=True, timeout=TIMEOUT_S)

    def run(self, algorithm, env=None, **parameters):
        """Results by name, and all that was said."""
        pairs = [f"{name}={value}" for name, value in parameters.items()]
        done = self.process("run", algorithm, "--", *pairs, **(env or {}))
        said = done.stdout + done.stderr
        _, _, results = done.stdout.partition("\nResults\n")
        found = dict(line.split(":\t", 1) for line in results.splitlines() if ":\t" in line)
        return done.returncode, found, said

    def inside(self, scenario, parameters, **env):
        """A scenario of inside_qgis.py; its answer."""
        command = [SYSTEM_PYTHON, HERE / "inside_qgis.py", scenario, json.dumps(parameters)]
        done = subprocess.run(command, env=self.env | env, capture_output=True, text=True, timeout=TIMEOUT_S)
        answers = [line for line in done.stdout.splitlines() if line.startswith("ANSWER ")]
        assert answers, done.stdout + done.stderr
        return json.loads(answers[0][7:])


@pytest.fixture(scope="session")
def qgis(tmp_path_factory):
    if not Path(QGIS_PROCESS).exists():
        pytest.skip(f"no {QGIS_PROCESS} (Debian: apt-get install qgis python3-qgis qgis-providers)")
    made = Qgis(tmp_path_factory.mktemp("qgis"))
    found = subprocess.run([SYSTEM_PYTHON, "-c", "import qgis.core"], env=made.env, capture_output=True, timeout=60)
    if found.returncode:
        pytest.skip("no QGIS for /usr/bin/python3 (Debian: apt-get install python3-qgis)")
    done = made.process("plugins", "enable", "rszsl_processing")
    assert "Enabled rszsl_processing" in done.stdout, done.stdout + done.stderr
    return made


@pytest.fixture(scope="session")
def qgis_scene(tmp_path_factory):
    """A painted scene of 800 x 640 m, in a folder with a space and letters that are not ASCII."""
    from rszsl.demo.scene import paint_scene

    path = tmp_path_factory.mktemp("Übersicht räume") / "Szene №1 ö.tif"
    image = paint_scene((320, 400))
    place = {"crs": UTM, "transform": from_origin(LEFT, TOP, GSD_M, GSD_M)}
    with rasterio.open(path, "w", driver="GTiff", count=3, height=320, width=400, dtype="uint8", **place) as sink:
        sink.write(np.maximum(image, 1))
    return path


def rows(gpkg, sql):
    with closing(sqlite3.connect(gpkg)) as db:
        return db.execute(sql).fetchall()


def leftovers(folder):
    return [p.name for p in Path(folder).rglob(".rszsl*")]


def class_pixels(qgis, scene, gpkg, png, layer="regions", classes=()):
    """Draw a layer over its scene in a fresh QGIS; for each class the number of pixels of its colour."""
    script = ROOT / "docs" / "images" / "render_qgis.py"
    command = [SYSTEM_PYTHON, script, scene, gpkg, png, layer]
    done = subprocess.run(command, env=qgis.env, capture_output=True, text=True, timeout=TIMEOUT_S)
    assert "renderer " in done.stdout, done.stderr
    picture = np.asarray(Image.open(png).convert("RGB")).reshape(-1, 3).astype(int)
    wanted = {name: [int(c[i : i + 2], 16) for i in (1, 3, 5)] for name, c in class_colours(classes).items()}
    return {name: (np.abs(picture - rgb).max(axis=1) <= 6).sum() for name, rgb in wanted.items()}  # outlines are opaque


def lonlat_box(left, bottom, right, top):
    """A ring in longitude and latitude around a box of the scene's CRS."""
    from pyproj import Transformer

    to = Transformer.from_crs(UTM, "EPSG:4326", always_xy=True)
    corners = [(left, bottom), (right, bottom), (right, top), (left, top), (left, bottom)]
    return [to.transform(x, y) for x, y in corners]


def fake(mode="", **env):
    """Variables with which a command that only plays rszsl is run."""
    return {"RSZSL_EXECUTABLE": str(FAKE), "FAKE_RSZSL": mode, **{k: str(v) for k, v in env.items()}}
