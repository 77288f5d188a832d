"""The GeoPackage in the real QGIS: loaded in a fresh process, styled by what the file carries, rendered to a PNG."""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from fakes import ColourModel
from PIL import Image

from rszsl import MapOptions
from rszsl.classes import as_classes
from rszsl.output.styles import class_colours
from rszsl.pipeline import map_with
from rszsl.progress import Silent

SCRIPT = Path(__file__).resolve().parents[1] / "docs" / "images" / "render_qgis.py"
SYSTEM_PYTHON = "/usr/bin/python3"


@pytest.fixture(scope="module")
def qgis_environment(tmp_path_factory):
    """Environment of a headless QGIS with a home of its own, or a skip that says what to install."""
    home = tmp_path_factory.mktemp("qgis")
    home.chmod(0o700)
    keep = {k: v for k, v in os.environ.items() if k not in ("PYTHONHOME", "PYTHONPATH", "PROJ_LIB", "GDAL_DATA")}
    env = keep | {"QT_QPA_PLATFORM": "offscreen", "XDG_RUNTIME_DIR": str(home), "HOME": str(home)}
    try:
        found = subprocess.run([SYSTEM_PYTHON, "-c", "import qgis.core"], env=env, capture_output=True, timeout=60)
    except OSError:
        found = None
    if found is None or found.returncode:
        pytest.skip("no QGIS for /usr/bin/python3 (Debian: apt-get install qgis python3-qgis qgis-providers)")
    return env


@pytest.mark.parametrize("layer", ["regions", "tiles"])
def test_qgis_draws_the_classes_in_their_colours(qgis_environment, make_raster, tmp_path, layer):
    image = np.full((3, 64, 96), 5, "uint8")
    image[0, :, :48] = 250
    image[1, :, 48:] = 250
    scene = make_raster(image)
    classes = as_classes("red,green")
    result = map_with(ColourModel(), str(scene), classes, tmp_path / "o.gpkg", MapOptions(), Silent())
    assert result.counts.labelled == 24
    png = tmp_path / "o.png"
    command = [SYSTEM_PYTHON, SCRIPT, scene, result.path, png, layer]
    run = subprocess.run(command, env=qgis_environment, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    assert "renderer categorizedSymbol" in run.stdout
    assert "partially supported" not in run.stderr
    picture = np.asarray(Image.open(png).convert("RGB")).reshape(-1, 3).astype(int)
    assert picture.min() < 250
    for name, colour in class_colours(["red", "green"]).items():
        # The fill is see-through: what is drawn is a mix of the class colour and the scene below.
        colour_rgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])
        ground = np.array({"red": (250, 5, 5), "green": (5, 250, 5)}[name])
        opacity = {"regions": 110, "tiles": 90}[layer] / 255
        mixed = opacity * colour_rgb + (1 - opacity) * ground
        share = (np.abs(picture - mixed).max(axis=1) <= 4).mean()
        assert share > 0.3, f"{name}: {share:.2f} of the picture has its colour {mixed.round()}"
