"""The QGIS plugin in the real QGIS, headless: every algorithm through qgis_process, and the rest in its Python."""

import json
import os
import sqlite3
import sys
import zipfile
from pathlib import Path

import pytest
from qgis_home import LEFT, ROOT, TOP, class_pixels, fake, leftovers, lonlat_box, rows

CLASSES = ["solar farm", "quarry", "forest"]


@pytest.fixture(scope="module")
def scene(qgis_scene):
    return qgis_scene


# With the real rszsl


@pytest.fixture(scope="module")
def mapped(qgis, scene):
    """Map classes through qgis_process, all options at their defaults but two."""
    output = scene.with_name("Karte ä.gpkg")
    joined = ",".join(CLASSES)
    code, found, said = qgis.run(
        "rszsl:map", INPUT=scene, CLASSES=joined, MIN_CONFIDENCE=0, DEVICE="cpu", OUTPUT=output
    )
    assert code == 0, said
    return found, said


def test_map(mapped, scene):
    found, said = mapped
    planned = int(found["PLANNED"])
    assert planned == int(found["LABELLED"]) > 0
    assert found["REGIONS"] == found["OUTPUT"] + "|layername=regions"
    assert rows(found["OUTPUT"], "SELECT count(*) FROM tiles") == [(planned,)]
    assert "tiles/s" in said
    assert "--progress=json" in said
    assert not leftovers(scene.parent)


def test_a_fresh_qgis_draws_the_map_in_its_colours(qgis, mapped, scene, tmp_path):
    found, _ = mapped
    pixels = class_pixels(qgis, scene, found["OUTPUT"], tmp_path / "map.png", classes=CLASSES)
    present = {name for (name,) in rows(found["OUTPUT"], "SELECT DISTINCT class FROM regions")}
    assert present
    for name in present:
        assert pixels[name] > 100, f"{name}: {pixels}"


def test_area_in_another_crs(qgis, scene, tmp_path):
    ring = lonlat_box(LEFT + 10, TOP - 200, LEFT + 200, TOP - 10)
    aoi = tmp_path / "aoi ü.geojson"
    feature = {"type": "Feature", "properties": {}, "geometry": {"type": "Polygon", "coordinates": [ring]}}
    aoi.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    output = tmp_path / "part.gpkg"
    code, found, said = qgis.run("rszsl:map", INPUT=scene, CLASSES="forest", AOI=aoi, DEVICE="cpu", OUTPUT=output)
    assert code == 0, said
    assert int(found["PLANNED"]) == 1
    ((left, top),) = rows(output, "SELECT min(col_px), min(row_px) FROM tiles")
    assert (left, top) == (0, 0)


def test_batch(qgis, scene, tmp_path, request):
    folder = tmp_path / "scènes"
    folder.mkdir()
    (folder / "one.tif").symlink_to(scene)
    real = Path(os.environ.get("RSZSL_DATA", ROOT.parent / "shared" / "data")) / "scenes"
    for one in sorted(real.glob("*_3857*.tif")):
        (folder / one.name).symlink_to(one)
    (folder / "broken.tif").write_text("no raster")
    out = tmp_path / "maps"
    options = {"INPUT": folder, "CLASSES": "forest,parking lot", "DEVICE": "cpu", "OUTPUT": out}
    code, found, said = qgis.run("rszsl:batch", **options)
    assert code == 0, said
    made = sorted(p.name for p in out.iterdir())
    assert made == sorted(p.stem + ".rszsl.gpkg" for p in folder.iterdir() if p.name != "broken.tif")
    assert found["COUNT"] == str(len(made))
    assert "skipped" in said
    assert "broken.tif" in said
    (folder / "broken.tif").unlink()
    code, found, said = qgis.run("rszsl:batch", **options)
    assert (code, found["COUNT"]) == (0, "0"), said
    assert f"{len(made)} scenes are skipped" in said


def test_model_information(qgis):
    code, found, said = qgis.run("rszsl:model", MODEL="dsva-small")
    assert code == 0, said
    assert found["NAME"] == "dsva-small"
    assert float(found["GSD_M"]) > 0
    code, found, said = qgis.run("rszsl:model")
    assert "dsva-base" in found["CARD"] and "dsva-small\t" in said  # `found` has the first line


def test_doctor(qgis):
    code, found, said = qgis.run("rszsl:doctor")
    assert (code, found["STATUS"], found["EXECUTABLE"]) == (0, "ready", str(qgis.rszsl)), said
    assert "dsva-small" in said
    code, found, said = qgis.run("rszsl:doctor", env={"RSZSL_EXECUTABLE": "/no/such/rszsl"})
    assert (code, found["STATUS"]) == (0, "not ready"), said
    assert "Install or update rszsl" in found["ADVICE"]


def test_layers_in_a_project(qgis, scene, tmp_path):
    output = tmp_path / "Lauf 1.gpkg"
    wanted = {
        "INPUT": str(scene), "CLASSES": "solar farm\nquarry", "MIN_CONFIDENCE": 0, "DEVICE": "cpu",
        "OUTPUT": str(output),
    }  # fmt: skip
    project = qgis.inside("project", wanted)
    assert project["group"] == "Lauf 1"
    assert project["top"] == ["Lauf 1", "an earlier run"]
    assert project["layers"] == ["regions", "tiles"]
    assert project["renderers"] == ["categorizedSymbol"] * 2
    assert project["classes"] == ["solar farm", "quarry", "other"] or project["classes"] == ["solar farm", "quarry"]
    assert project["labels"]
    assert "model_sha256" in project["abstract"]
    assert "classes: solar farm, quarry" in project["abstract"]


# With a command that only plays rszsl


def test_importing_the_plugin_imports_no_engine(qgis):
    assert set(qgis.inside("imports", {})) <= {"numpy"}  # QGIS's own Processing takes numpy


def test_child_has_nothing_of_qgis_in_its_environment(qgis, scene, tmp_path):
    log = tmp_path / "log.json"
    dirty = dict.fromkeys(("PROJ_LIB", "GDAL_DATA", "GDAL_DRIVER_PATH", "PYTHONSTARTUP"), str(tmp_path))
    asked = {
        "INPUT": str(scene), "CLASSES": "a,b", "BANDS": "3, 2,1", "RANGE": "0,3000", "OVERLAP": 0.5, "GSD": 0.75,
        "BATCH_SIZE": 8, "VIEWS": "4", "DEVICE": "cuda:1", "CRS": "EPSG:25832", "OUTPUT": str(tmp_path / "o.gpkg"),
    }  # fmt: skip
    answer = qgis.inside("plain", asked, **fake(FAKE_LOG=log), **dirty)
    assert answer["fine"]
    child = json.loads(log.read_text())
    assert not {*dirty, "QGIS_PLUGINPATH", "LD_LIBRARY_PATH"} & set(child["env"])
    assert child["argv"][-2:] == ["--", str(scene)]
    for option in (
        "--bands=3,2,1", "--range=0,3000", "--overlap=0.5", "--gsd=0.75", "--batch-size=8", "--views=4",
        "--device=cuda:1",
        "--crs=EPSG:25832", "--classes=a,b", "--model=dsva-base",
    ):  # fmt: skip
        assert option in child["argv"]
    assert answer["warning"] == ["coarse scene"]
    assert answer["steps"] == [25.0, 100.0]
    assert any("20 tiles/s" in line for line in answer["info"])


def test_failures_are_one_line(qgis, scene, tmp_path):
    asked = {"INPUT": str(scene), "CLASSES": "a", "OUTPUT": str(tmp_path / "o.gpkg")}
    for mode, message in {
        "fail": "the scene is rotated",
        "die": "memory",
        "old": "rszsl 0.0.9; the plugin needs",
    }.items():
        answer = qgis.inside("plain", asked, **fake(mode))
        assert message in answer["failed"]
        assert "\n" not in answer["failed"]
        assert (mode != "fail") or "some library talks" in answer["console"]
    answer = qgis.inside("plain", asked, RSZSL_EXECUTABLE=str(tmp_path / "none"))
    assert "the rszsl command was not found" in answer["failed"]
    assert list(tmp_path.iterdir()) == []


def test_a_failing_run_fails_in_qgis_process(qgis, tmp_path):
    (tmp_path / "x.tif").write_text("no raster")
    code, _, said = qgis.run("rszsl:map", INPUT=tmp_path / "x.tif", CLASSES="a", OUTPUT=tmp_path / "o.gpkg")
    assert code
    assert "x.tif" in said or "Could not load" in said


def test_cancel_ends_everything_in_three_seconds(qgis, scene, tmp_path):
    pids = tmp_path / "pids"
    out = tmp_path / "out"
    out.mkdir()
    asked = {"INPUT": str(scene), "CLASSES": "a", "OUTPUT": str(out / "o.gpkg"), "PIDS": str(pids)}
    answer = qgis.inside("cancel", asked, **fake("hang", FAKE_PIDS=pids))
    assert answer["took_s"] < 3
    assert "cancelled" in answer["failed"]
    for pid in pids.read_text().split():
        state = Path(f"/proc/{pid}/stat")
        assert not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z"
    assert list(out.iterdir()) == []


def test_values_are_checked_before_the_run(qgis, scene, tmp_path):
    file = tmp_path / "classes.txt"
    file.write_text("lake\nlake\n")
    other = tmp_path / "mine.gpkg"
    sqlite3.connect(other).execute("CREATE TABLE mine (a)").connection.close()
    aoi = tmp_path / "aoi.geojson"
    aoi.write_text(json.dumps({"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 0]]]}))
    good = {"INPUT": str(scene), "CLASSES": "a", "OUTPUT": str(tmp_path / "o.gpkg")}
    cases = {
        "names no class": {"CLASSES": " "},
        '"b" twice': {"CLASSES": "a,b,b"},
        "not both": {"CLASSES_FILE": str(file)},
        '"lake" twice': {"CLASSES": "", "CLASSES_FILE": str(file)},
        "3,2,1": {"BANDS": "red"},
        "must rise": {"RANGE": "9,1"},
        "either an area of interest or an extent": {"AOI": str(aoi), "EXTENT": "0,1,0,1 [EPSG:4326]"},
        "Could not load source layer": {"INPUT": "/no/such.tif"},
        "Incorrect parameter value for MIN_CONFIDENCE": {"MIN_CONFIDENCE": 1.5},
        "is no map of rszsl": {"OUTPUT": str(other)},
        "must be a GeoPackage": {"OUTPUT": str(tmp_path / "o.shp")},
    }
    answers = qgis.inside("checks", [good | case for case in cases.values()], **fake())
    for words, answer in zip(cases, answers, strict=True):
        assert words in answer.get("refused", "") + answer.get("failed", ""), f"{words}: {answer}"
    assert rows(other, "SELECT count(*) FROM mine") == [(0,)]


def test_selection(qgis, scene, tmp_path):
    log = tmp_path / "log.json"
    boxes = [(LEFT, TOP - 100, LEFT + 100, TOP), (LEFT, TOP - 50, LEFT + 50, TOP)]
    rings = [", ".join(f"{x} {y}" for x, y in lonlat_box(*box)) for box in boxes]
    asked = {
        "INPUT": str(scene), "CLASSES": "a", "OUTPUT": str(tmp_path / "o.gpkg"),
        "POLYGONS": [f"POLYGON(({ring}))" for ring in rings],
    }  # fmt: skip
    answer = qgis.inside("selection", asked, **fake(FAKE_LOG=log))
    assert "select some features first" in answer["nothing"]["failed"]
    assert answer["one"]["fine"]
    assert any(a.startswith("--aoi=") for a in json.loads(log.read_text())["argv"])


def test_install_from_a_folder_of_wheels(qgis, tmp_path):
    """A tiny wheel plays rszsl: the environment, pip and the check of the version are real."""
    wheels, folder = tmp_path / "räder", tmp_path / "umgebung"
    wheels.mkdir()
    with zipfile.ZipFile(wheels / "rszsl-9.9.9-py3-none-any.whl", "w") as wheel:
        wheel.writestr("rszsl.py", "def main():\n    print('rszsl, version 9.9.9')\n")
        about = "rszsl-9.9.9.dist-info"
        wheel.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: rszsl\nVersion: 9.9.9\n")
        wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{about}/entry_points.txt", "[console_scripts]\nrszsl = rszsl:main\n")
        wheel.writestr(f"{about}/RECORD", "")
    options = {"FOLDER": folder, "WHEELS": wheels, "PYTHON": sys.executable}
    code, found, said = qgis.run("rszsl:install", **options)
    assert code == 0, said
    assert found == {"EXECUTABLE": str(folder / "bin" / "rszsl"), "VERSION": "9.9.9"}
    try:
        code, found, said = qgis.run("rszsl:doctor", env={"RSZSL_EXECUTABLE": ""})
        assert found["EXECUTABLE"] == str(folder / "bin" / "rszsl"), said  # by the setting
        missing = tmp_path / "second"
        code, _, said = qgis.run("rszsl:install", **options | {"PACKAGE": "rszsl==1.0", "FOLDER": missing})
        assert code
        assert "No matching distribution" in said
        assert not missing.exists()
    finally:
        for settings in Path(qgis.env["HOME"]).rglob("QGIS3.ini"):
            lines = settings.read_text().splitlines(keepends=True)
            settings.write_text("".join(line for line in lines if "RSZSL_EXECUTABLE" not in line))
