"""Which model and which rows a batch labels with: models from elsewhere, the user's own rows, what it tells of them."""

import io
import json
import os
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
from batches import mapped_alone, rows, run, tables, write_scene
from hub_models import save_clip, save_open_clip

import rszsl
from rszsl.batch.checkpoint import card_digest, checkpoint_of, name_of
from rszsl.batch.told import BatchProgress, JsonScreen
from rszsl.cli import main
from rszsl.errors import ClassListError, ModelError, OptionError

pytest.importorskip("transformers", reason="the extra `hub` is not installed")
pytest.importorskip("open_clip", reason="the extra `hub` is not installed")

ASK = "forest,river"


@pytest.fixture(autouse=True)
def offline(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setenv("RSZSL_HOME", str(tmp_path / "home"))


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return save_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture
def scene(make_raster, noise):
    return make_raster(noise(3, 500, 700))


def call(*arguments):
    with pytest.raises(SystemExit) as exit_:
        main([str(a) for a in arguments])
    return exit_.value.code


def warned(stream):
    events = [json.loads(line) for line in stream.getvalue().splitlines()]
    return [event["message"] for event in events if event["event"] == "warning"]


def test_a_model_from_elsewhere_labels_as_in_a_single_map(clip, scene, tmp_path, monkeypatch):
    """Named by a relative path; in strips."""
    single = rszsl.map_scene(scene, ASK, model=str(clip), output=tmp_path / "single.gpkg", device="cpu", overlap=0.5)
    monkeypatch.chdir(clip.parent)
    stream = io.StringIO()
    kept = {"model": clip.name, "device": "cpu", "overlap": 0.5, "strip_tiles": 5}
    result = rszsl.map_scenes([scene], ASK, out=tmp_path / "out", progress=BatchProgress(JsonScreen(stream)), **kept)
    assert result.clean and rows(result.manifest, "SELECT count(*) > 1 FROM strips") == [(1,)]
    mine = gpd.read_file(result.scenes[0].output, layer="tiles")
    assert mine.geometry.equals(single.tiles.geometry) and mine["class"].equals(single.tiles["class"])
    np.testing.assert_allclose(mine["confidence"], single.tiles["confidence"], atol=1e-4)
    told = warned(stream)
    assert len(told) == len(set(told)) == len(single.warnings) > 0 and set(told) == set(single.warnings)


@pytest.mark.parametrize("save", [save_clip, save_open_clip])
def test_the_digest_is_that_of_the_loaded_model(save, tmp_path):
    found = checkpoint_of(str(save(tmp_path / "one")))
    loaded = found.load("cpu")
    assert found.digest == found.found() == card_digest(loaded.card.raw, loaded.card.files)
    assert checkpoint_of(name_of(loaded)) == found
    other = checkpoint_of(str(save(tmp_path / "two", seed=1)))
    assert other.digest != found.digest
    (weights,) = (tmp_path / "two").glob("*.safetensors")
    (tmp_path / "one" / weights.name).write_bytes(weights.read_bytes())
    with pytest.raises(ModelError, match="is of another model"):
        found.load("cpu")


def test_names_mean_the_same_on_every_machine(clip, tmp_path, monkeypatch):
    monkeypatch.chdir(clip.parent)
    assert checkpoint_of("dsva-small").name == "dsva-small"
    assert checkpoint_of(clip.name).name == str(clip)
    assert call("models", "add", "mine", clip, "--gsd", "0.5") == 0
    named = checkpoint_of("mine")
    assert named.name == "mine" and named.digest != checkpoint_of(str(clip)).digest
    by_path = checkpoint_of(os.path.relpath(tmp_path / "home" / "models" / "mine"))
    assert Path(by_path.name).is_absolute() and by_path.digest == named.digest == name_digest(named)
    save_open_clip(tmp_path / "open")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "open")
    path = checkpoint_of("open_clip:ViT-B-32/open_clip_model.safetensors").name
    assert path == f"open_clip:ViT-B-32{tmp_path}/open/open_clip_model.safetensors"
    monkeypatch.chdir(tmp_path / "here")
    assert checkpoint_of(path).name == path
    with pytest.raises(ModelError, match='no model "nothing"'):
        checkpoint_of("nothing")


def name_digest(checkpoint):
    return checkpoint_of(name_of(checkpoint.load("cpu"))).digest


def test_a_pickle_is_read_only_where_it_is_trusted(scene, tmp_path, capsys):
    ask = ["batch", scene, "--classes", ASK, "--device", "cpu", "--model", save_clip(tmp_path / "old", pickle=True)]
    assert call(*ask, "--out", tmp_path / "out") == 1
    assert "--trust-pickle" in capsys.readouterr().err and not (tmp_path / "out").exists()
    assert call(*ask, "--out", tmp_path / "out", "--trust-pickle") == 0


def test_own_rows_speak_for_classes(tmp_path):
    scene = write_scene(tmp_path / "s.tif", 12, 11, seed=3)
    own = tmp_path / "own.csv"
    own.write_text("class,bluish,greenish\nred,1,\nquarry,,1\n")
    single = mapped_alone([scene], tmp_path / "alone", attributes=own)
    plain = mapped_alone([scene], tmp_path / "plain")
    out = tmp_path / "out"
    assert run([scene], out, attributes=own).clean
    assert tables(out / "s.rszsl.gpkg") == tables(single["s"]) != tables(plain["s"])
    own.write_text("class,greenish,bluish\nred,,2\n")  # the same row, for the classes of this batch
    assert run([scene], out, attributes=own).clean
    own.write_text("class,bluish,greenish\nred,1,1\n")
    with pytest.raises(rszsl.BatchError, match="is of another batch: attributes was"):
        run([scene], out, attributes=own)
    with pytest.raises(rszsl.BatchError, match="is of another batch: attributes was"):
        run([scene], out)
    own.write_text("class,bluish\nlake,1\n")
    with pytest.raises(ClassListError, match="has rows for lake, none for red, green, blue"):
        run([scene], tmp_path / "new", attributes=own)
    assert not (tmp_path / "new").exists()  # nothing that a corrected command would trip over


def test_what_needs_a_whole_scene_is_refused(scene, tmp_path, capsys):
    for more, said in (
        ({"refine": True}, "--refine needs all tiles of a scene at once"),
        ({"examples": tmp_path / "e.gpkg"}, "is for one scene at a time; map with rszsl map --examples"),
        ({"cache": tmp_path / "c"}, "is for one scene; a batch keeps none"),
    ):
        with pytest.raises(OptionError, match=said):
            rszsl.map_scenes([scene], ASK, out=tmp_path / "out", **more)
    assert call("batch", scene, "--classes", ASK, "--out", tmp_path / "out", "--refine") == 2
    assert "No such option" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_what_the_user_should_know_of_the_classes_is_told_once(make_raster, noise, tmp_path):
    scenes = [make_raster(noise(3, 200, 200, seed=i), f"s{i}.tif") for i in range(2)]
    stream = io.StringIO()
    result = rszsl.map_scenes(
        scenes, "car park,parking lot", out=tmp_path / "out", device="cpu", progress=BatchProgress(JsonScreen(stream))
    )
    assert result.clean
    assert len([said for said in warned(stream) if "mean nearly the same to the model" in said]) == 1
