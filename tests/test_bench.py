"""`rszsl bench`: figures of one's own machine."""

import json
from dataclasses import replace

import pytest
from fakes import ColourModel, painted

from rszsl import bench
from rszsl.cli import main
from rszsl.options import MapOptions


def code_of(*args):
    with pytest.raises(SystemExit) as exit_:
        main(["bench", *map(str, args)])
    return exit_.value.code


@pytest.fixture
def scene(make_raster):
    return make_raster(painted(["rgb." * 3] * 8))


def test_a_small_scene_gives_figures_and_what_limits(make_raster, noise, tmp_path, capsys):
    scene, file = make_raster(noise(3, 500, 500)), tmp_path / "figures.json"
    assert code_of(scene, "--tiles", "4", "--device", "cpu", "--batch-size", "2", "--json", file) == 0
    figures = json.loads(file.read_text())
    assert set(figures["tiles_per_s"]) == {"reading", "model", "writing", "map"}
    assert all(speed > 0 for speed in figures["tiles_per_s"].values())
    slowest = min(bench.PARTS, key=lambda part: figures["tiles_per_s"][part])
    assert figures["limits"] == slowest and figures["tiles"] == 4 and figures["batch_size"] == 2
    assert figures["precision"] == "fp32" and figures["device"] == "cpu" and figures["scene"] == str(scene)
    said = capsys.readouterr().out
    assert "limits" in said and "4 tiles, dsva-base" in said
    assert sorted(p.name for p in tmp_path.iterdir()) == ["figures.json", "scene.tif"]


def test_the_parts_are_those_of_map(scene, monkeypatch):
    model = ColourModel()
    called = []
    for name in ("load_tiles", "encode_tiles", "label_batches", "make_result", "write_result"):
        original = getattr(bench, name)

        def spy(*args, name=name, original=original, **more):
            called.append(name)
            return original(*args, **more)

        monkeypatch.setattr(bench, name, spy)
    found = bench.measure_scene(str(scene), model, MapOptions(device="cpu", batch_size=5), 17)
    assert found.tiles == 17 and set(called) >= {"load_tiles", "encode_tiles", "label_batches", "write_result"}


def test_the_slowest_part_limits(scene):
    found = bench.measure_scene(str(scene), ColourModel(), MapOptions(device="cpu"), 8)
    for part in bench.PARTS:
        speeds = dict.fromkeys((*bench.PARTS, "map"), 100.0) | {part: 9.0}
        assert replace(found, tiles_per_s=speeds).limits == part


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        (["no.tif"], 1, "cannot open no.tif as a raster"),
        (["--tiles", "0"], 2, "--tiles"),
        (["--batch-size", "0"], 1, "--batch-size 0 must be at least 1"),
        (["--precision", "int8"], 1, "--precision int8 is for"),
        (["--model", "none"], 1, 'no model "none"'),
    ],
)
def test_bad_options_get_one_line(args, code, says, capsys):
    assert code_of(*args, "--device", "cpu") == code
    said = capsys.readouterr().err
    assert says in said and "Traceback" not in said


def test_a_file_that_cannot_be_written_is_said(make_raster, noise, tmp_path, capsys):
    scene = make_raster(noise(3, 200, 200))
    assert code_of(scene, "--tiles", "1", "--device", "cpu", "--json", tmp_path / "no" / "f.json") == 1
    assert "name another --json" in capsys.readouterr().err
