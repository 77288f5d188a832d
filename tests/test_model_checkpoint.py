"""The bundled model: loading, checking, encoding."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from rszsl.classes import parse_classes
from rszsl.errors import ModelError
from rszsl.labels.assign import contributions
from rszsl.labels.calibrate import score
from rszsl.model.backbone import build_backbone, fold_batch_norms, trunk_of
from rszsl.model.card import read_card
from rszsl.model.checkpoint import find_model, list_models, load_model


@pytest.fixture(scope="module")
def model():
    return load_model("dsva-small", device="cpu")


@pytest.fixture(scope="module")
def tiles(model):
    """Three tiles that need no data: a ramp, stripes, blocks."""
    side = model.card.input_px
    rows, cols = np.mgrid[0:side, 0:side].astype("float32") / side
    ramp = np.stack([rows, cols, 1 - rows])
    stripes = np.stack([np.sin(20 * cols) * 0.5 + 0.5, np.full_like(rows, 0.4), rows * 0.3])
    blocks = np.stack([((rows * 8).astype(int) + (cols * 8).astype(int)) % 2 * s for s in (0.9, 0.6, 0.5)])
    return np.stack([ramp, stripes, blocks]).astype("float32")


@pytest.fixture
def copy(tmp_path):
    return Path(shutil.copytree(find_model("dsva-small"), tmp_path / "copy"))


def test_the_model_is_listed_and_says_what_it_is(model):
    assert "dsva-small" in list_models()
    assert re.fullmatch("[0-9a-f]{64}", model.card.sha256)
    assert len(model.attribute_names) == len(set(model.attribute_names))
    assert model.device == "cpu"
    assert 0 < model.min_confidence < 1


def test_shapes_and_unit_lengths(model, tiles):
    encoded = model.encode(tiles)
    assert encoded.attributes.shape == (3, len(model.attribute_names))
    assert encoded.attributes.dtype == encoded.embedding.dtype == np.float32
    for rows in (encoded.attributes, encoded.embedding, model.background_rows):
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)


def test_golden_numbers(model, tiles):
    # Of the shipped weights; new weights mean new numbers here.
    encoded = model.encode(tiles)
    rows = model.class_rows(parse_classes("solar farm,quarry,forest")).rows
    np.testing.assert_allclose(
        encoded.attributes @ rows.T,
        [[-0.1112, 0.0067, 0.0154], [0.1368, -0.1106, 0.0720], [0.3035, -0.0903, -0.0252]],
        atol=2e-3,
    )
    np.testing.assert_allclose(encoded.embedding[:, 1], [-0.0535, -0.0463, -0.0373], atol=1e-3)


def test_folding_batch_norms_changes_nothing():
    torch.manual_seed(0)
    backbone = build_backbone(input_px=64, embed_dim=24, depth=1, heads=2).eval()
    for module in backbone.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_mean, -0.2, 0.2)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
    pixels = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        before = backbone(pixels)
        fold_batch_norms(trunk_of(backbone))
        assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in backbone.modules())
        torch.testing.assert_close(backbone(pixels), before, atol=1e-4, rtol=1e-4)


def test_results_do_not_depend_on_the_batch(model, tiles):
    together = model.encode(tiles).attributes
    alone = np.concatenate([model.encode(tile[None]).attributes for tile in tiles])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_bytes_are_the_same_tiles(model, tiles):
    as_bytes = np.round(tiles * 255).astype("uint8")
    np.testing.assert_array_equal(
        model.encode(as_bytes).attributes, model.encode(as_bytes.astype("float32") / 255).attributes
    )


def test_contributions_add_up_to_the_similarity(model, tiles):
    attributes = model.encode(tiles).attributes
    rows = model.class_rows(parse_classes("solar farm,quarry,forest")).rows
    similarity = score(attributes, rows, model.background_rows, model.calibrator).similarity
    np.testing.assert_allclose(contributions(attributes, rows).sum(1), similarity.diagonal(), atol=1e-6)


def test_wrong_tiles_are_refused(model):
    with pytest.raises(ModelError, match="wants tiles"):
        model.encode(np.zeros((1, 3, 32, 32), "float32"))


def test_an_unknown_name_lists_the_models():
    with pytest.raises(ModelError, match="dsva-small"):
        load_model("no-such-model")


def test_a_folder_without_card_is_no_model(tmp_path):
    with pytest.raises(ModelError, match=r"no card\.toml"):
        load_model(str(tmp_path))


@pytest.mark.parametrize("name", ["model.safetensors", "words.txt", "attributes.toml"])
def test_a_changed_file_is_refused(copy, name):
    with (copy / name).open("ab") as opened:
        opened.write(b"x")
    with pytest.raises(ModelError, match=rf"{name} is damaged.*fetch the model again"):
        load_model(str(copy))


def test_a_missing_file_is_named(copy):
    (copy / "words.txt").unlink()
    with pytest.raises(ModelError, match=r"words\.txt"):
        load_model(str(copy))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("px = 160", "", r"lacks input\.px"),
        ("px = 160", 'px = "wide"', r"input\.px is 'wide', not int"),
        ('kind = "logistic"', 'kind = "oracle"', "unknown to this rszsl"),
        ('architecture = "dsva"', 'architecture = "magic"', "unknown to this rszsl"),
        ("mean = [0.5, 0.5, 0.5]", "mean = [0.5]", "not three numbers"),
        ("[input]", "[input", "cannot read the model card"),
    ],
)
def test_a_wrong_card_says_what_is_wrong(copy, old, new, message):
    card = copy / "card.toml"
    text = card.read_text()
    assert old in text
    card.write_text(text.replace(old, new))
    with pytest.raises(ModelError, match=message):
        load_model(str(copy))


@pytest.mark.parametrize("device", ["gpu", "tpu:1", "cuda:99"])
def test_a_device_that_is_not_there_is_refused(device):
    with pytest.raises(ModelError, match="device"):
        load_model("dsva-small", device=device)


def test_the_card_measures_what_it_ships():
    card = read_card(find_model("dsva-small") / "card.toml")
    assert {entry["name"] for entry in card.raw["training"]["data"]} >= {"aid", "ucm", "rsscn7"}
    assert all({"what", "value", "n", "command"} <= set(entry) for entry in card.raw["accuracy"])
    taught, folds = set(card.raw["training"]["taught"]), card.raw["training"]["folds"]
    assert all(set(fold["unseen"]) < taught for fold in folds)
    assert {entry["what"].split(": ")[0] for entry in card.raw["accuracy"]} == {"final", *(f["name"] for f in folds)}
    assert card.calibrator.taught is not None
