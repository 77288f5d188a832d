"""DSVA on the towers of models from elsewhere: a model that names its tower, and one that keeps it."""

import json
import shutil
import tomllib
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import geopandas as gpd
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from hub_models import OPEN_CLIP_CONFIG, save_clip, save_open_clip, save_siglip
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from zsl_images import draw, paint_folder, write_recipe, write_rows

import rszsl
from rszsl.cli import cli
from rszsl.errors import ModelError, RszslError, TrainingError
from rszsl.model.hub.inventory import named_source
from rszsl.model.towers.build import build_tower
from rszsl.model.towers.hub import TowerOrigin, find_tower, load_tower, source_text
from rszsl.zsl.runs.recipe import read_train_recipe, with_tower

pytest.importorskip("transformers", reason="the extra `hub` is not installed")
pytest.importorskip("open_clip", reason="the extra `hub` is not installed")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

SAVERS = {"clip": save_clip, "siglip": save_siglip, "open_clip": save_open_clip}
COMMIT = "0123456789abcdef0123456789abcdef01234567"
DSVA = {"epochs": 1, "heads_epochs": 1, "episodes": 2}
NAMES = ("red rows", "blue columns", "green rows")


@pytest.fixture(autouse=True)
def offline(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("RSZSL_HOME", str(tmp_path / "home"))


@pytest.fixture(scope="module")
def towers(tmp_path_factory):
    root = tmp_path_factory.mktemp("towers")
    return {name: save(root / name) for name, save in SAVERS.items()}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A folder of class folders, and the table of their rows."""
    root = tmp_path_factory.mktemp("images")
    return SimpleNamespace(folder=paint_folder(root / "stripes", 5), rows=write_rows(root / "rows.csv"))


@pytest.fixture
def train(images, tmp_path):
    """Train by the command, into a folder; the recipe's own tower is a small one of timm."""

    def run(name, *options, **parts):
        file = write_recipe(tmp_path / "recipe.toml", images.folder, images.rows,
                            **{"dsva": DSVA, "output": str(tmp_path / name), "work": str(tmp_path / f"{name}-work"),
                               **parts})  # fmt: skip
        result = CliRunner().invoke(cli, ["train", str(file), *map(str, options)])
        if result.exception:
            raise result.exception
        return tmp_path / name

    return run


def card_of(folder):
    return tomllib.loads((folder / "card.toml").read_text())


def tensors_of(folder):
    with safe_open(folder / "model.safetensors", "pt") as opened:
        return set(opened.keys())


def map_with(model, scene, output, *options):
    arguments = ["map", scene, "--classes", ",".join(NAMES), "--model", model, "--device", "cpu", "-o", output,
                 "--min-confidence", "0", "--gsd", card_of(model)["input"]["gsd_m"], *options]  # fmt: skip
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return gpd.read_file(output, layer="tiles")


def striped(side):
    blocks = [np.asarray(draw(name, 1, side)).transpose(2, 0, 1) for name in NAMES]
    return np.concatenate(blocks, axis=2)


@pytest.mark.parametrize("kind", SAVERS)
def test_a_named_tower_and_a_packed_one_give_the_same_map(towers, train, make_raster, tmp_path, kind):
    named = train("named", "--backbone", towers[kind])
    packed = train("packed", "--backbone", towers[kind], "--standalone")
    card = card_of(named)
    assert card["tower"]["source"] == str(towers[kind]) and card["tower"]["revision"] == ""
    assert card_of(packed)["tower"] == card["tower"]
    assert card["training"]["command"].endswith(f"--backbone {towers[kind]}")
    assert card_of(packed)["training"]["command"].endswith("--standalone")
    assert not any(name.startswith("tower.") for name in tensors_of(named))
    assert any(name.startswith("tower.") for name in tensors_of(packed))
    scene = make_raster(striped(2 * card["input"]["px"]))
    first = map_with(named, scene, tmp_path / "named.gpkg")
    second = map_with(packed, scene, tmp_path / "packed.gpkg")
    assert len(first) == 12 and set(first["status"]) == {"labelled"}
    assert first["class"].tolist() == second["class"].tolist()
    np.testing.assert_allclose(first["similarity"], second["similarity"], atol=1e-5)


def test_a_changed_or_moved_tower_is_refused(towers, train, tmp_path):
    tower = shutil.copytree(towers["clip"], tmp_path / "tower")
    named = train("named", "--backbone", tower)
    packed = train("packed", "--backbone", tower, "--standalone")
    rszsl.load_model(str(named), device="cpu")
    weights = load_file(tower / "model.safetensors")
    save_file({name: 2 * value for name, value in weights.items()}, tower / "model.safetensors")
    with pytest.raises(ModelError, match=r"trained on another tower than .*tower is now: .*bring the old weights back"):
        rszsl.load_model(str(named), device="cpu")
    tower.rename(tmp_path / "elsewhere")
    with pytest.raises(
        ModelError, match=r"needs its tower .*tower, which is not there; put it back, or train with --s"
    ):
        rszsl.load_model(str(named), device="cpu")
    assert rszsl.load_model(str(packed), device="cpu").card.name == "stripes"


def in_cache(folder, repo):
    place = Path(repo) / "snapshots" / COMMIT
    shutil.copytree(folder, place)
    (Path(repo) / "refs").mkdir()
    (Path(repo) / "refs" / "main").write_text(COMMIT)
    return place


def test_a_tower_from_a_hub_is_named_by_its_commit(towers, train, tmp_path):
    repo = tmp_path / "cache" / "models--somebody--small-clip"
    place = in_cache(towers["clip"], repo)
    model = train("model", "--backbone", "somebody/small-clip")
    assert card_of(model)["tower"]["source"] == "hf:somebody/small-clip"
    assert card_of(model)["tower"]["revision"] == COMMIT
    assert len(card_of(model)["tower"]["sha256"]) == 64
    assert rszsl.load_model(str(model), device="cpu").tower.spec.grid == 7
    place.rename(tmp_path / "gone")
    pinned = f"hf:somebody/small-clip@{COMMIT}"
    with pytest.raises(
        ModelError, match=f"needs its tower {pinned}: .*rszsl models pull {pinned}.* or train with --standalone"
    ):
        rszsl.load_model(str(model), device="cpu")


def test_a_tower_of_a_checkpoint_and_an_architecture(towers, train, images, tmp_path):
    import open_clip

    (tmp_path / "ViT-tiny-tower.json").write_text(json.dumps(OPEN_CLIP_CONFIG["model_cfg"]))
    open_clip.add_model_config(tmp_path)
    weights = load_file(towers["open_clip"] / "open_clip_model.safetensors")
    torch.save({"state_dict": weights}, tmp_path / "epoch_1.pt")
    name = f"open_clip:ViT-tiny-tower/{tmp_path / 'epoch_1.pt'}"
    with pytest.raises(ModelError, match="--trust-pickle"):
        train("model", "--backbone", name)
    model = train("model", "--backbone", name, "--trust-pickle")
    with pytest.raises(ModelError, match="--trust-pickle"):
        rszsl.load_model(str(model), device="cpu")
    loaded = rszsl.load_model(str(model), device="cpu", trust_pickle=True)
    pixels = torch.randn(2, 3, 128, 128)
    whole = open_clip.create_model(f"local-dir:{towers['open_clip']}").eval()
    with torch.inference_mode():
        torch.testing.assert_close(loaded.tower(pixels).embedding, whole.encode_image(pixels), atol=1e-5, rtol=1e-4)
    measured = ["eval", images.folder, "--model", model, "--device", "cpu", "--trust-pickle"]
    assert "mean per class of 8" in CliRunner().invoke(cli, [str(word) for word in measured]).output
    (tmp_path / "epoch_1.pt").unlink()
    with pytest.raises(ModelError, match=r"needs its tower open_clip:ViT-tiny-tower/.*no file"):
        rszsl.load_model(str(model), device="cpu", trust_pickle=True)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("clip-vit-b-32", "hf:openai/clip-vit-base-patch32"),
        ("openai/clip-vit-base-patch32", "hf:openai/clip-vit-base-patch32"),
        ("open_clip:ViT-B-32/laion2b_s34b_b79k", "open_clip:ViT-B-32/laion2b_s34b_b79k"),
        ("remoteclip-vit-b-32", "remoteclip-vit-b-32"),
        ("skyclip-vit-b-32", "skyclip-vit-b-32"),
    ],
)
def test_a_source_is_written_as_it_is_read(name, text):
    source = named_source(name)[0]
    assert source_text(source, name) == text
    again = named_source(text)[0]
    assert replace(again, revision="", sha256="") == replace(source, revision="", sha256="")


def test_a_card_that_lacks_its_tower(towers, train):
    model = train("model", "--backbone", towers["clip"])
    card = (model / "card.toml").read_text()
    (model / "card.toml").write_text("".join(line for line in card.splitlines(True) if "revision" not in line))
    with pytest.raises(ModelError, match=r"lacks tower\.revision"):
        rszsl.load_model(str(model), device="cpu")
    (model / "card.toml").write_text(card.replace("[tower]", "[other]"))
    with pytest.raises(ModelError, match="lacks tower; the model folder is not whole"):
        rszsl.load_model(str(model), device="cpu")


@pytest.mark.parametrize("kind", SAVERS)
def test_tokens_are_those_of_the_library(towers, kind):
    tower, origin = load_tower(str(towers[kind]))
    spec = tower.spec
    pixels = torch.randn(2, 3, spec.input_px, spec.input_px)
    with torch.inference_mode():
        out, aligned = tower(pixels), tower.tokens(pixels, aligned=True)
        again = build_tower(json.loads(json.dumps(tower.config))).eval()
        again.load_state_dict(tower.state_dict())
        assert again.spec == spec
        torch.testing.assert_close(again(pixels).tokens, out.tokens)
        assert out.tokens.shape == (2, spec.tokens, spec.width)
        if kind == "open_clip":
            import open_clip

            whole = open_clip.create_model(f"local-dir:{towers[kind]}").eval()
            whole.visual.output_tokens = True
            embedding, patches = whole.visual(pixels)
            torch.testing.assert_close(tower.model.ln_post(out.tokens[:, 1:]), patches, atol=1e-5, rtol=1e-4)
        else:
            import transformers

            whole = transformers.AutoModel.from_pretrained(towers[kind]).eval()
            tokens = whole.vision_model(pixel_values=pixels).last_hidden_state
            torch.testing.assert_close(out.tokens, tokens, atol=1e-5, rtol=1e-4)
            features = whole.get_image_features(pixel_values=pixels)
            embedding = getattr(features, "pooler_output", features)
    if spec.embedding_dim:  # SigLIP's is of all patches, and no token lies where it does
        torch.testing.assert_close(out.embedding, embedding, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(aligned[:, 0], embedding, atol=1e-5, rtol=1e-4)
    assert (kind == "siglip") == (spec.embedding_dim == 0)
    assert (
        origin == TowerOrigin(str(towers[kind]), "", origin.sha256) and find_tower(origin, "m").spec.grid == spec.grid
    )


def test_towers_of_timm_in_open_clip_and_towers_without_tokens(tmp_path):
    model = {"embed_dim": 16, "vision_cfg": {"timm_model_name": "test_vit", "image_size": 160, "timm_pool": "",
             "timm_proj": "linear"}}  # fmt: skip
    config = {"kind": "open_clip", "name": "timm's", "model": model, "mean": [0.5] * 3, "std": [0.5] * 3}
    tower = build_tower(config).eval()
    with torch.inference_mode():
        assert tower(torch.randn(1, 3, 160, 160)).tokens.shape == (1, 101, 64)
    assert tower.spec.prefix == 1 and tower.spec.grid == 10 and tower.width(aligned=True) == 64
    model["vision_cfg"] = {"layers": [1, 1, 1, 1], "width": 8, "image_size": 64}
    with pytest.raises(ModelError, match=r"ModifiedResNet, which gives no patch tokens .*as ViT-B-32"):
        build_tower(config | {"name": "resnet"})


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"model_type": "bert"}, 'holds a "bert", whose patch tokens rszsl cannot read'),
        (None, "has no weights"),
    ],
)
def test_folders_that_are_no_tower(towers, tmp_path, change, told):
    folder = shutil.copytree(towers["clip"], tmp_path / "odd")
    if change is None:
        (folder / "model.safetensors").unlink()
    else:
        (folder / "config.json").write_text(json.dumps(json.loads((folder / "config.json").read_text()) | change))
    with pytest.raises(ModelError, match=told):
        load_tower(str(folder))


def test_weights_that_lack_a_tensor(towers, tmp_path):
    for kind, file, told in (
        ("clip", "model.safetensors", "lack 1 tensors"),
        ("open_clip", "open_clip_model.safetensors", "does not fit its architecture"),
    ):
        folder = shutil.copytree(towers[kind], tmp_path / kind)
        weights = load_file(folder / file)
        weights.pop(next(name for name in weights if name.startswith("vis") and "class_embedding" in name))
        save_file(weights, folder / file, {"format": "pt"})
        with pytest.raises(ModelError, match=told):
            load_tower(str(folder))


def test_what_the_command_and_the_recipe_refuse(towers, train, images, tmp_path):
    with pytest.raises(TrainingError, match=r'of kind "timm", which every model keeps: .*for --backbone NAME'):
        train("model", "--standalone")
    hub = {"kind": "hub", "name": str(towers["clip"]), "frozen": False}
    with pytest.raises(TrainingError, match=r"would be trained, .*leave it frozen, or add standalone = true"):
        train("model", tower=hub)
    with pytest.raises(ModelError, match="dsva-small is a model of our own, whose tower is not to be had alone"):
        train("model", "--backbone", "dsva-small")
    with pytest.raises(ModelError, match="is an ensemble; name one"):
        train("model", "--backbone", "clip-vit-b-16+clip-vit-b-32")
    with pytest.raises(RszslError, match='no model "nobody"'):
        train("model", "--backbone", "nobody")
    recipe = read_train_recipe(write_recipe(tmp_path / "r.toml", images.folder, images.rows, tower={
        "kind": "hub", "name": str(towers["clip"])}))  # fmt: skip
    assert recipe.tower.frozen and not recipe.tower.standalone
    assert with_tower(recipe, standalone=True).tower.standalone
    assert with_tower(recipe, "other").key != recipe.key == with_tower(recipe, standalone=True).key


def test_another_backbone_does_not_go_on_with_the_training_of_the_first(towers, train):
    train("model", "--backbone", towers["clip"])
    with pytest.raises(TrainingError, match="a training of another recipe or backbone"):
        train("model", "--backbone", towers["open_clip"])


def test_a_tower_can_be_trained_where_the_model_keeps_it(towers, train):
    hub = {"kind": "hub", "name": str(towers["clip"]), "frozen": False, "standalone": True}
    model = train("model", tower=hub, dsva={**DSVA, "heads_epochs": 0, "lr": 1e-3})
    kept = load_file(model / "model.safetensors")
    name = next(n for n in kept if n.endswith("patch_embedding.weight"))
    first = load_file(towers["clip"] / "model.safetensors")["vision_model.embeddings.patch_embedding.weight"]
    assert not torch.equal(kept[name], first)
    rszsl.load_model(str(model), device="cpu")
