"""The command line as a user meets it: a real process, its exit code, its one line, the files that it leaves."""

import gc
import json
import os
import signal
import subprocess
import sys
import time

import geopandas as gpd
import numpy as np
import pytest
import shapely
from rasterio.transform import Affine

from rszsl.slow_imports import without_collector


def rszsl(*args, cwd=None, timeout=180):
    command = [sys.executable, "-m", "rszsl", *map(str, args)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=timeout)


@pytest.fixture
def scene(make_raster, noise):
    return make_raster(noise(3, 300, 400))


def test_help_is_quick_and_imports_nothing_heavy():
    script = (
        "import sys, rszsl.cli\ntry: rszsl.cli.main(['--help'])\nexcept SystemExit: pass\nprint(sorted(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert "Usage: rszsl" in run.stdout
    loaded = run.stdout.splitlines()[-1]
    for heavy in (
        "torch",
        "torchgeo",
        "timm",
        "rasterio",
        "geopandas",
        "pandas",
        "numpy",
        "rich",
        "pyogrio",
        "shapely",
        "distributed",
        "dask",
    ):
        assert f"'{heavy}'" not in loaded
    clock_s = time.perf_counter()
    rszsl("--help")
    assert time.perf_counter() - clock_s < 5  # the target is 0.5 s; this only catches an import of torch


def test_map_writes_and_counts(scene, tmp_path):
    run = rszsl("map", scene, "--classes", "forest,river", cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    tiles = gpd.read_file(tmp_path / "scene.rszsl.gpkg", layer="tiles")
    assert f"scene.rszsl.gpkg: {len(tiles)} tiles = " in run.stderr and run.stdout == ""
    assert set(tiles["class"]) <= {"forest", "river", "other"}


def test_verbose_logs_to_stderr_alone(scene, tmp_path):
    import logging

    from click.testing import CliRunner

    from rszsl.cli import cli

    arguments = ["map", str(scene), "--classes", "forest", "--device", "cpu", "--progress", "json", "--overwrite"]
    loud = CliRunner().invoke(cli, [*arguments, "-v", "-o", str(tmp_path / "o.gpkg")])
    assert loud.exit_code == 0, loud.stderr
    said = loud.stderr.splitlines()
    for part in ("model dsva-base", "on cpu", "400 x 300 px of 1 m", "grid of 2 x 2 tiles of 240 x 240 px, 4 planned"):
        assert any(part in line for line in said), loud.stderr
    assert any("waiting for reads" in line for line in said) and any("s to write" in line for line in said)
    assert all(json.loads(line)["event"] for line in loud.stdout.splitlines())
    still = CliRunner().invoke(cli, [*arguments, "-o", str(tmp_path / "o.gpkg")])
    assert still.exit_code == 0 and still.stderr == "" and not logging.getLogger("rszsl").handlers


def test_json_progress_is_a_line_an_event(scene, tmp_path):
    run = rszsl("map", scene, "--classes", "forest,xyzzyq", "--progress", "json", "-o", tmp_path / "o.gpkg")
    events = [json.loads(line) for line in run.stdout.splitlines()]
    assert [e["event"] for e in events if e["event"] != "progress"] == ["start", "warning", "done"]
    assert events[0]["total"] == events[-1]["done"] > 1
    assert events[-1]["output"].endswith("o.gpkg") and f"{events[0]['total']} tiles = " in events[-1]["message"]
    assert "xyzzyq" in events[1]["message"]


def test_several_scenes_go_to_a_folder(make_raster, noise, tmp_path):
    scenes = [make_raster(noise(3, 64, 64, seed=i), f"s{i}.tif") for i in range(2)]
    broken = tmp_path / "broken.tif"
    broken.write_text("no raster")
    run = rszsl("map", *scenes, broken, "--classes", "forest", "--out", tmp_path / "maps")
    assert run.returncode == 3 and "skipped: cannot open" in run.stderr
    assert sorted(p.name for p in (tmp_path / "maps").iterdir()) == ["s0.rszsl.gpkg", "s1.rszsl.gpkg"]


def test_unreadable_tiles_are_counted_and_the_exit_code_says_so(make_raster, noise, tmp_path):
    path = make_raster(noise(3, 600, 600), tiled=True, blockxsize=64, blockysize=64)
    path.write_bytes(path.read_bytes()[:700_000])
    run = rszsl("map", path, "--classes", "forest", "-o", tmp_path / "o.gpkg")
    assert run.returncode == 3, run.stderr
    tiles = gpd.read_file(tmp_path / "o.gpkg", layer="tiles")
    failed = tiles[tiles["status"] == "failed"]
    assert 0 < len(failed) < len(tiles) and failed["note"].str.contains("cannot read Box").all()
    assert failed["class"].isna().all()


def bad_cases(tmp_path, make_raster, noise):
    data = noise(3, 64, 64)
    good = make_raster(data, "good.tif")
    text = tmp_path / "text.txt"
    text.write_text("hello")
    far = tmp_path / "far.geojson"
    gpd.GeoDataFrame(geometry=[shapely.box(100, 10, 101, 11)], crs=4326).to_file(far)
    points = tmp_path / "points.geojson"
    gpd.GeoDataFrame(geometry=[shapely.Point(1, 1)], crs=4326).to_file(points)
    rotated = make_raster(data, "rotated.tif", transform=Affine(1, 0.3, 5e5, 0.3, -1, 5e6))
    taken = tmp_path / "taken.gpkg"
    taken.write_text("mine")
    ask = ["--classes", "forest"]
    return {
        "missing": ([tmp_path / "no.tif", *ask], 1, "cannot open .*no.tif as a raster"),
        "not a raster": ([text, *ask], 1, "cannot open .*text.txt as a raster"),
        "no crs": ([make_raster(data, "nocrs.tif", crs=None), *ask], 1, "nocrs.tif has no CRS; give it with --crs"),
        "bad crs": ([good, *ask, "--crs", "EPSG:0"], 1, '--crs "EPSG:0" is no CRS'),
        "rotated": ([rotated, *ask], 1, "rotated.tif is rotated; make it north-up"),
        "no bands": ([good, *ask, "--bands", ""], 1, "--bands is empty"),
        "band that is not there": ([good, *ask, "--bands", "1,2,7"], 1, "has no band 7: it has bands 1 to 3"),
        "bands in words": ([good, *ask, "--bands", "red"], 1, '--bands "red" is no list of band numbers'),
        "range": ([good, *ask, "--range", "5"], 1, '--range "5" is not LO,HI'),
        "falling range": ([good, *ask, "--range", "5,1"], 1, "--range 5,1 must rise"),
        "empty class": ([good, "--classes", "forest,,river"], 1, "empty class name"),
        "duplicate class": ([good, "--classes", "forest,Forest"], 1, 'has the class "Forest" twice'),
        "no class": ([good], 2, "Give either --classes"),
        "aoi far away": ([good, *ask, "--aoi", far], 1, "far.geojson does not overlap .*good.tif"),
        "aoi missing": ([good, *ask, "--aoi", tmp_path / "n.shp"], 1, "cannot read the area of interest .*n.shp"),
        "aoi of points": ([good, *ask, "--aoi", points], 1, "points.geojson holds no polygon"),
        "output exists": ([good, *ask, "-o", taken], 1, "taken.gpkg exists; give --overwrite"),
        "no such folder": ([good, *ask, "-o", tmp_path / "x" / "o.gpkg"], 1, "does not exist; create it"),
        "overlap": ([good, *ask, "--overlap", "1"], 1, "--overlap 1.0 must be at least 0 and below 1"),
        "min valid": ([good, *ask, "--min-valid", "2"], 1, "--min-valid 2.0 must be from 0 to 1"),
        "confidence": ([good, *ask, "--min-confidence", "-1"], 1, "--min-confidence -1.0 must be"),
        "batch": ([good, *ask, "--batch-size", "0"], 1, "--batch-size 0 must be at least 1"),
        "gsd": ([good, *ask, "--gsd", "0"], 1, "--gsd 0.0 must be above 0"),
        "model": ([good, *ask, "--model", "none"], 1, 'no model "none"'),
        "device": ([good, *ask, "--device", "toaster"], 1, "toaster"),
        "two outputs": ([good, good, *ask, "-o", tmp_path / "o.gpkg"], 1, "--output names one file for one scene"),
        "same stem": ([good, good, *ask], 1, "two scenes would be written to"),
        "unknown option": ([good, *ask, "--nope"], 2, "No such option"),
        "format": ([good, *ask, "--format", "shp"], 2, "is not one of"),
    }


CASES = (
    "missing", "not a raster", "no crs", "bad crs", "rotated", "no bands", "band that is not there", "bands in words",
    "range", "falling range", "empty class", "duplicate class", "no class", "aoi far away", "aoi missing",
    "aoi of points", "output exists", "no such folder", "overlap", "min valid", "confidence", "batch", "gsd", "model",
    "device", "two outputs", "same stem", "unknown option", "format",
)  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_bad_input_gets_one_line_and_leaves_nothing(name, tmp_path, make_raster, noise, capsys, monkeypatch):
    """In this process, to spare thirty starts of torch; `main` is what the console script calls."""
    import re

    from rszsl.cli import main

    args, code, message = bad_cases(tmp_path, make_raster, noise)[name]
    before = {p: p.stat().st_mtime_ns for p in tmp_path.iterdir()}
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as exit_:
        main(["map", *map(str, args), "--device", "cpu"] if "device" not in name else ["map", *map(str, args)])
    said = capsys.readouterr()
    assert exit_.value.code == code, said.err
    assert re.search(message, said.err), said.err
    assert "Traceback" not in said.err and said.out == ""
    if code == 1:
        assert len(said.err.splitlines()) == 1 and said.err.startswith("error: ")
    assert {p: p.stat().st_mtime_ns for p in tmp_path.iterdir()} == before


def test_every_bad_case_is_run(tmp_path, make_raster, noise):
    assert tuple(bad_cases(tmp_path, make_raster, noise)) == CASES


def test_error_as_json(tmp_path):
    run = rszsl("map", tmp_path / "no.tif", "--classes", "a", "--progress", "json", cwd=tmp_path)
    assert run.returncode == 1
    assert json.loads(run.stdout.splitlines()[-1])["event"] == "error"
    assert list(tmp_path.iterdir()) == []


def test_a_class_named_json_asks_for_no_json(tmp_path, capsys):
    from rszsl.cli import main

    with pytest.raises(SystemExit):
        main(["map", str(tmp_path / "no.tif"), "--classes", "json", "--device", "cpu", "-o", str(tmp_path / "o.gpkg")])
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(("kind", "drawn"), [("auto", False), ("bar", True)])
def test_a_bar_is_drawn_off_a_terminal_only_when_asked_for(kind, drawn, capsys):
    from rszsl.progress import progress_for

    with progress_for(kind) as progress:
        progress.start("scene.tif", 4)
        progress.advance(4)
        progress.done("o.gpkg", "o.gpkg: 4 tiles")
    said = capsys.readouterr().err
    assert ("\x1b[" in said) == drawn  # a bar moves the cursor
    assert "o.gpkg: 4 tiles" in said


@pytest.mark.parametrize("polite", [signal.SIGINT, signal.SIGTERM])
def test_interrupt_leaves_no_output(make_raster, tmp_path, polite):
    side = 8_000
    path = make_raster(np.zeros((1, side, side), "uint8"), tiled=True, compress="deflate")
    out = tmp_path / "out"
    out.mkdir()
    command = [sys.executable, "-m", "rszsl", "map", path, "--classes", "forest", "-o", out / "o.gpkg"]
    command += ["--progress", "json", "--gsd", "0.1", "--overlap", "0.9", "--cache", out / "o.rszsl-cache"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    # A shell starts background jobs with SIGINT ignored, and children inherit that.
    heed = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # noqa: E731
    with subprocess.Popen(command, preexec_fn=heed, **pipes) as run:
        assert json.loads(run.stdout.readline())["event"] == "start"
        os.kill(run.pid, polite)
        _, said = run.communicate(timeout=60)
    assert run.returncode == 130 and "interrupted" in said and "Traceback" not in said
    assert {path.name for path in out.iterdir()} <= {"o.rszsl-cache.part"}  # what is kept of the cache


def test_models_are_listed_and_shown(capsys):
    from rszsl.cli import main

    with pytest.raises(SystemExit) as exit_:
        main(["models", "list"])
    out = capsys.readouterr().out
    assert exit_.value.code == 0 and out.startswith("dsva-base\t0.2.0\t") and "\ndsva-small\t" in out
    with pytest.raises(SystemExit):
        main(["models", "show", "dsva-small"])
    assert "[calibrator]" in capsys.readouterr().out
    with pytest.raises(SystemExit) as exit_:
        main(["models", "show", "nothing"])
    assert exit_.value.code == 1


def test_attributes_of_a_name(capsys):
    from rszsl.cli import main

    with pytest.raises(SystemExit) as exit_:
        main(["attributes", "solar farm", "--top", "3", "--device", "cpu"])
    weights = [float(line.split("\t")[0]) for line in capsys.readouterr().out.splitlines()]
    assert exit_.value.code == 0 and len(weights) == 6
    assert weights == sorted(weights, reverse=True) and weights[0] > 0 > weights[-1]
    with pytest.raises(SystemExit):
        main(["attributes", "xyzzyq", "--device", "cpu"])
    assert "xyzzyq" in capsys.readouterr().err


def test_cache_commands(scene, tmp_path, capsys):
    from rszsl.cli import main

    def run(*args):
        with pytest.raises(SystemExit) as exit_:
            main([str(a) for a in args])
        return exit_.value.code, capsys.readouterr()

    kept = tmp_path / "k.rszsl-cache"
    assert run("embed", scene, "--cache", kept, "--device", "cpu")[0] == 0
    fresh, again = tmp_path / "f.gpkg", tmp_path / "a.gpkg"
    assert run("map", scene, "--classes", "forest,river", "-o", fresh, "--device", "cpu")[0] == 0
    assert run("relabel", kept, "--classes", "forest,river", "-o", again, "--device", "cpu")[0] == 0
    columns = ["tile_id", "status", "class"]
    tables = [gpd.read_file(p, layer="tiles") for p in (fresh, again)]
    assert tables[0][columns].equals(tables[1][columns])
    np.testing.assert_allclose(tables[0]["confidence"], tables[1]["confidence"], atol=2e-6)
    code, said = run("search", kept, "forest", "--top", "2", "--device", "cpu")
    assert code == 0 and [line.split("\t")[0] for line in said.out.splitlines()] == ["1", "2"]
    code, said = run("search", kept, "--like", "nowhere")
    assert code == 1 and '--like "nowhere" is not X,Y' in said.err
    code, said = run("map", scene, scene, "--classes", "a", "--cache", "one", "--out", tmp_path / "o")
    assert code == 1 and "--cache one names one file for one scene" in said.err


def test_map_with_a_default_cache(scene, tmp_path, monkeypatch):
    from rszsl.cli import main

    monkeypatch.chdir(tmp_path)
    for output in ("1.gpkg", "2.gpkg"):
        with pytest.raises(SystemExit) as exit_:
            main(["map", str(scene), "--classes", "forest", "-o", output, "--device", "cpu", "--cache"])
        assert exit_.value.code == 0
    assert (tmp_path / "scene.rszsl-cache").stat().st_size > 1000


def test_a_checkpoint_that_was_changed_is_refused(tmp_path, make_raster, noise, capsys):
    import shutil

    from rszsl.cli import main
    from rszsl.model.checkpoint import find_model

    folder = shutil.copytree(find_model("dsva-small"), tmp_path / "model")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    scene = make_raster(noise(3, 64, 64))
    out = tmp_path / "o.gpkg"
    with pytest.raises(SystemExit) as exit_:
        main(["map", str(scene), "--classes", "forest", "--model", str(folder), "--device", "cpu", "-o", str(out)])
    said = capsys.readouterr().err
    assert exit_.value.code == 1 and "model.safetensors" in said and "sha256" in said and len(said.splitlines()) == 1
    assert not out.exists()


def test_the_collector_rests_while_large_libraries_are_imported():
    with without_collector():
        assert not gc.isenabled()
    assert gc.isenabled() and gc.get_freeze_count()
    gc.unfreeze()
    gc.disable()  # who keeps it off, has it off afterwards
    try:
        with without_collector():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_a_reader_that_has_gone_is_no_error():
    read, write = os.pipe()
    os.close(read)
    run = subprocess.run([sys.executable, "-m", "rszsl", "--version"], stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert "Traceback" not in run.stderr


def test_a_process_does_what_is_due_at_its_end(tmp_path):
    script = (
        "import atexit, sys, threading, rszsl.__main__ as command\n"
        "atexit.register(print, 'due')\n"
        "sys.argv = ['rszsl', *sys.argv[1:]]\n"
        "command.run()"
    )
    for arguments, code in (
        (["--version"], 0),
        (["map", str(tmp_path / "no.tif"), "--classes", "a"], 1),
        (["nope"], 2),
    ):
        run = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True)
        assert run.returncode == code and run.stdout.splitlines()[-1] == "due"
        assert bool(run.stderr) == bool(code) and "Traceback" not in run.stderr
