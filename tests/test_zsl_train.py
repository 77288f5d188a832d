"""Training as a user runs it: a recipe in, a model folder out that maps, and what happens when things go wrong."""

import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import torch
from click.testing import CliRunner
from PIL import Image
from zsl_images import ATTRIBUTES, CLASSES, draw, paint_folder, write_recipe, write_rows

from rszsl.cli import cli
from rszsl.errors import ClassListError, RszslError, TrainingError
from rszsl.model.checkpoint import load_model
from rszsl.model.preprocess import short_side_px
from rszsl.model.towers.timm import TimmTower
from rszsl.zsl.dsva.module import DsvaModule
from rszsl.zsl.runs.finish import finish
from rszsl.zsl.runs.recipe import read_train_recipe
from rszsl.zsl.runs.train import Training

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def run(*arguments):
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, RszslError):
        raise result.exception
    return result


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """The folder, and the table of rows."""
    root = tmp_path_factory.mktemp("images")
    return SimpleNamespace(folder=paint_folder(root / "stripes"), rows=write_rows(root / "rows.csv"))


@pytest.fixture(scope="module")
def trained(images, tmp_path_factory):
    """One training by the command, with a corrupt image among the others."""
    root = tmp_path_factory.mktemp("trained")
    folder = shutil.copytree(images.folder, root / "set")
    (folder / "red_rows" / "broken.png").write_bytes(b"\x89PNG\r\n")
    recipe = write_recipe(root / "recipe.toml", folder, images.rows)
    result = run("train", recipe)
    return SimpleNamespace(root=root, folder=folder, recipe=recipe, model=root / "model", result=result)


@pytest.fixture
def recipe(images, tmp_path):
    """Write and read a recipe of the folder, with changes."""

    def make(**parts):
        return read_train_recipe(write_recipe(tmp_path / "recipe.toml", images.folder, images.rows, **parts))

    return make


def train(recipe, log=lambda line: None):
    return Training(recipe, log).run()


def weights_of(file):
    return torch.load(file, weights_only=True)["state_dict"]


def test_the_command_writes_a_model(trained):
    assert trained.result.exit_code == 0
    assert "1 of 65 images cannot be read and are left out: red_rows/broken.png" in trained.result.output
    assert "among 2 unseen classes (chance 0.500)" in trained.result.output
    result = json.loads((trained.model / "result.json").read_text())
    assert (result["seen"], result["trained_on"], result["unseen"]) == (6, 4, 2)
    assert len(result["by_class"]) == 2
    assert 0 <= result["accuracy"] <= 1
    assert result["accuracy"] == pytest.approx(np.mean(list(result["by_class"].values())))
    assert result["rows"]["provider"] == "table"
    lines = (trained.model / "epochs.csv").read_text().splitlines()
    assert lines[0] == "epoch,loss,validation,validation_global,validation_local,validation_both"
    assert [line.split(",")[0] for line in lines[1:]] == ["0", "1", "2"]
    assert (trained.root / "work" / "stripes" / "log" / "version_0" / "metrics.csv").is_file()
    item = json.loads((trained.model / "mlm.json").read_text())["properties"]
    assert item["mlm:hyperparameters"]["attributes"] == [a.split("/")[1] for a in ATTRIBUTES]
    kept = torch.load(trained.root / "work" / "stripes" / "last.ckpt", weights_only=True)["origin"]
    assert kept == {"data_sha256": result["data_sha256"], "seed": 3, "split_seed": 1}


def test_the_model_loads_and_scores_as_the_training_did(trained):
    model = load_model(str(trained.model), device="cpu")
    assert (model.attribute_names, model.class_names) == (
        tuple(a.split("/")[1] for a in ATTRIBUTES),
        tuple(sorted(CLASSES)),
    )
    side = model.card.input_px
    tiles = np.random.default_rng(0).random((2, 3, side, side), dtype="float32")
    said = model.encode(tiles)
    assert np.linalg.norm(said.attributes, axis=1) == pytest.approx([1, 1], abs=1e-5)
    # What training showed is the centre of an image: a tile with a frame, and its GSD is that of the shrunken image.
    around = short_side_px(side) - side
    frame = ((around // 2, around - around // 2),) * 2 + ((0, 0),)
    images = [np.pad((tile.transpose(1, 2, 0) * 255).round().astype("uint8"), frame) for tile in tiles]
    np.testing.assert_allclose(model.encode_images(images).attributes, said.attributes, atol=0.02)
    with Image.open(next((trained.folder / "blue_columns").glob("*.png"))) as shown:
        assert model.card.gsd_m == pytest.approx(min(shown.size) / short_side_px(side), abs=1e-4)


def test_a_map_with_the_model(trained, tmp_path, make_raster):
    names = ("red rows", "blue columns")
    blocks = [np.asarray(draw(name, 1, 64)).transpose(2, 0, 1) for name in names]
    scene = make_raster(np.concatenate(blocks, axis=2))
    arguments = ["map", scene, "--model", trained.model, "--device", "cpu", "-o", tmp_path / "map.gpkg"]
    attribute = ATTRIBUTES[0].split("/")[1]
    run(*arguments, "--classes", ",".join(names), "--min-confidence", "0", "--attention", attribute)
    with rasterio.open(tmp_path / "map.attention.tif") as source:
        assert source.descriptions == (attribute,) and np.isfinite(source.read()).all()
    tiles = gpd.read_file(tmp_path / "map.gpkg", layer="tiles")
    assert len(tiles) >= 8
    assert set(tiles["class"]) <= set(names)
    assert set(tiles["attribute_1"]) <= {a.split("/")[1] for a in ATTRIBUTES}
    assert tiles["contribution_1"].notna().all()
    assert run(*arguments, "--classes", "Red row,blue-columns", "--overwrite").exit_code == 0
    refused = run(*arguments, "--classes", "red lows,blue columns", "--overwrite")
    assert isinstance(refused.exception, ClassListError)
    assert 'no attribute row of "red lows"' in str(refused.exception)
    assert "as red rows" in str(refused.exception)


def test_pictures_of_the_model(trained, tmp_path):
    out = tmp_path / "new" / "figures.json"
    result = run("eval", trained.folder, "--model", trained.model, "--device", "cpu", "-o", out, "--figures", tmp_path)
    said = json.loads(out.read_text())
    assert said["images"] == 64
    assert f"{said['accuracy']:.3f} mean per class of 8 (chance 0.125)" in result.output
    drawn = {file.stem for file in tmp_path.glob("*.png")}
    assert drawn >= {"confusion", "accuracy", "plane", "rows", "calibration", "training", "attention_red_rows"}
    for file in tmp_path.glob("*.png"):
        assert np.asarray(Image.open(file).convert("L")).std() > 5, file


def test_an_interrupted_run_ends_as_an_unbroken_one(recipe, tmp_path):
    ours = recipe()
    train(replace(ours, work=tmp_path / "unbroken"))

    def pull_the_plug(line):
        if line.startswith("epoch 1"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(ours, pull_the_plug)
    assert torch.load(tmp_path / "work" / "stripes" / "last.ckpt", weights_only=True)["epoch"] == 0
    resumed = train(ours)
    assert [line["epoch"] for line in resumed.history] == [0, 1, 2]
    once, twice = (weights_of(tmp_path / work / "stripes" / "last.ckpt") for work in ("unbroken", "work"))
    assert once.keys() == twice.keys()
    for name, weight in once.items():
        assert torch.allclose(weight, twice[name], atol=1e-6), name
    # A finished run, run again, trains nothing and says the same.
    again = train(ours)
    assert (again.best_epoch, again.history) == (resumed.best_epoch, resumed.history)
    # Another recipe in the same folder is refused, and so are other images.
    with pytest.raises(TrainingError, match="holds a training of another recipe or backbone"):
        train(recipe(seed=4))
    images = shutil.copytree(ours.data.source, tmp_path / "others")
    draw("red rows", 99).save(images / "red_rows" / "new.png")
    file = write_recipe(tmp_path / "recipe.toml", ours.data.source, ours.rows.table)
    with pytest.raises(TrainingError, match="another data_sha256"):
        train(replace(read_train_recipe(file), data=replace(ours.data, source=str(images))))


@pytest.mark.parametrize("episodes", [1, 3])
def test_an_absurd_rate_leaves_the_last_checkpoint_as_it_was(recipe, tmp_path, episodes):
    with pytest.raises(TrainingError, match="lower the learning rate; the last checkpoint is kept"):
        train(recipe(dsva={"lr": 1e30, "episodes": episodes}))
    kept = torch.load(tmp_path / "work" / "stripes" / "last.ckpt", weights_only=True)
    assert kept["epoch"] == 0
    assert all(torch.isfinite(w).all() for w in kept["state_dict"].values())


def test_a_frozen_tower_is_asked_once(recipe, tmp_path, monkeypatch):
    ours = recipe(tower={"frozen": True}, trainer={"accumulate": 3})
    first = train(ours)
    assert torch.load(tmp_path / "work" / "stripes" / "last.ckpt", weights_only=True)["global_step"] == 3
    assert not any(name.startswith("tower.") for name in first.module.state_dict())

    def never(self, pixels):
        raise AssertionError("the tower was run again")

    monkeypatch.setattr(TimmTower, "forward", never)
    second = train(replace(ours, name="second"))
    for one, other in zip(first.module.parameters(), second.module.parameters(), strict=True):
        assert torch.equal(one, other)
    monkeypatch.undo()
    assert finish(first)["unseen"] == 2
    tiles = np.random.default_rng(0).random((1, 3, 32, 32), dtype="float32")
    assert load_model(str(ours.output), device="cpu").encode(tiles).attributes.shape == (1, 5)


def test_it_stops_when_validation_classes_gain_nothing(recipe):
    ours = recipe(
        tower={"frozen": True}, dsva={"epochs": 9, "heads_epochs": 9, "heads_lr": 0.0}, trainer={"patience": 2}
    )
    first = train(ours)
    assert [line["epoch"] for line in first.history] == [0, 1, 2]
    assert first.best_epoch == 0
    assert train(ours).history == first.history


def test_out_of_memory_says_what_to_lower(recipe, monkeypatch):
    def too_much(self, batch, index):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(DsvaModule, "training_step", too_much)
    with pytest.raises(TrainingError, match=r"out of memory with 3 x 2 images of 32 px: lower \[dsva\] shots"):
        train(recipe())


def test_a_trainer_that_cannot_be_had(recipe):
    with pytest.raises(TrainingError, match=r"\[trainer\] asks for what cannot be done here"):
        train(recipe(trainer={"precision": "17-true"}))


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        ({"data": {"source": "nowhere"}}, "nowhere holds no class folders"),
        ({"split": {"seen": 5}}, "5/2 needs 7 different classes, there are 8"),
        ({"tower": {"name": "resnet18"}}, "name a vit_"),
        ({"tower": {"kind": "clip"}}, "there are timm, hybrid and hub"),
        ({"tower": {"kind": "hub", "name": "nowhere"}}, 'no model "nowhere"'),
        ({"tower": {"weights": "nowhere.safetensors"}}, "cannot take the weights nowhere.safetensors"),
        ({"rows": {"kind": "humane"}}, "no class rows of kind 'humane'"),
        ({"rows": {"kind": "table", "table": "nowhere.csv"}}, "cannot read the class rows nowhere.csv"),
        ({"trainer": {"device": 1}}, r"\[trainer\] has an unknown key 'device'"),
        ({"dsva": {"rate": 1}}, "rate"),
    ],
)
def test_bad_recipes(recipe, parts, told):
    with pytest.raises(RszslError, match=told):
        Training(recipe(**parts), lambda line: None)


def test_a_class_without_a_row_an_empty_folder_and_a_class_in_both_parts(images, recipe, tmp_path):
    few = write_rows(tmp_path / "few.csv", CLASSES[1:])
    with pytest.raises(TrainingError, match=r"few\.csv has no row for 'red rows'"):
        Training(recipe(rows={"table": str(few)}), print)
    folder = shutil.copytree(images.folder, tmp_path / "set")
    (folder / "empty").mkdir()
    with pytest.raises(TrainingError, match="empty holds no images"):
        Training(recipe(data={"source": str(folder)}), print)
    split = tmp_path / "split.toml"
    split.write_text(f"seen = {list(CLASSES[:7])}\nunseen = {list(CLASSES[6:])}")
    with pytest.raises(TrainingError, match="'grey rows' is in two parts"):
        Training(recipe(split={"file": str(split)}), print)
