"""The bundled model as a STAC Item with the Machine Learning Model extension."""

import hashlib
import json
import re
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pystac
import pytest
from click.testing import CliRunner

from rszsl.cli import cli
from rszsl.errors import ModelError
from rszsl.model.card import CARD_FILE, read_card
from rszsl.model.checkpoint import find_model, load_model
from rszsl.model.mlm import MLM_FILE, MLM_SCHEMA, attribute_names, mlm_item, mlm_json

FOLDER = find_model("dsva-small")


@pytest.fixture(scope="module")
def item():
    return pystac.Item.from_file(str(FOLDER / MLM_FILE))


def test_the_committed_item_is_the_one_that_the_card_gives():
    written = (FOLDER / MLM_FILE).read_text(encoding="utf-8")
    assert written == mlm_json(read_card(FOLDER / CARD_FILE))
    run = CliRunner().invoke(cli, ["models", "show", "dsva-small", "--mlm"])
    assert run.exit_code == 0 and run.output == written


def test_it_is_a_stac_item_with_what_the_extension_requires(item, model):
    fields = item.properties
    trained = datetime.fromisoformat(model.card.raw["training"]["date"])
    assert item.stac_extensions[0] == MLM_SCHEMA and item.datetime == trained.replace(tzinfo=UTC)
    assert re.fullmatch(r"[a-zA-Z][a-zA-Z0-9_.\-\s]+[a-zA-Z0-9]", fields["mlm:name"])
    assert fields["mlm:architecture"].startswith("DSVA") and fields["mlm:framework"] == "PyTorch"
    assert set(fields["mlm:tasks"]) == {"scene-classification", "similarity-search"}
    for entry, structure in ((e, e[key]) for key in ("input", "result") for e in puts(fields) if key in e):
        assert entry["name"] and structure["data_type"] == "float32"
        assert len(structure["shape"]) == len(structure["dim_order"]) == len(set(structure["dim_order"]))
    # The extension wants bands that are named to be a dimension, and to be described by the item.
    (entry,) = fields["mlm:input"]
    assert "bands" in entry["input"]["dim_order"] and entry["bands"] == [band["name"] for band in fields["bands"]]
    assert all(re.fullmatch("[0-9a-zA-Z_.-]+", key) for key in fields["mlm:hyperparameters"])
    models = [a for a in item.assets.values() if "mlm:model" in a.roles]
    assert [a.extra_fields["mlm:artifact_type"] for a in models] == ["safetensors.torch.save_file"]


def puts(fields):
    return fields["mlm:input"] + fields["mlm:output"]


def test_it_says_what_the_model_is(item, model):
    fields, tile = item.properties, item.properties["mlm:input"][0]
    side = model.card.input_px
    assert tile["input"]["shape"] == [-1, 3, side, side] and fields["gsd"] == model.card.gsd_m
    assert [scale["mean"] for scale in tile["value_scaling"]] == list(model.card.mean)
    told = model.encode(np.zeros((2, 3, side, side), "float32"))
    assert [out["result"]["shape"][1] for out in fields["mlm:output"]] == [
        told.attributes.shape[1],
        told.embedding.shape[1],
    ]
    assert tuple(fields["mlm:hyperparameters"]["attributes"]) == model.attribute_names
    parameters = sum(p.numel() for p in load_model("dsva-small", device="cpu", runtime="torch").network.parameters())
    assert parameters < fields["mlm:total_parameters"] < 5 * parameters  # with the text side


def test_its_assets_are_the_files_of_the_model(item):
    for name, asset in item.assets.items():
        if name == "source_code":
            continue
        content = (FOLDER / asset.href).read_bytes()
        assert asset.extra_fields["file:checksum"] == "1220" + hashlib.sha256(content).hexdigest()
        assert asset.extra_fields["file:size"] == len(content)


def test_a_model_that_rszsl_train_wrote_has_its_names_elsewhere(tmp_path):
    card = read_card(FOLDER / CARD_FILE)
    (tmp_path / "tower.json").write_text(json.dumps({"attributes": ["red", "blue"]}))
    (tmp_path / "model.safetensors").write_bytes((FOLDER / "model.safetensors").read_bytes())
    files = {"model.safetensors": "0" * 64, "tower.json": "1" * 64}
    trained = replace(card, path=tmp_path / CARD_FILE, architecture="dsva-tower", shape={}, files=files)
    assert attribute_names(trained) == ("red", "blue")
    (out,) = mlm_item(trained)["properties"]["mlm:output"]
    assert out["result"]["shape"] == [-1, 2]


def test_what_has_no_date_or_no_weights_is_refused():
    card = read_card(FOLDER / CARD_FILE)
    raw = {key: value for key, value in card.raw.items() if key != "training"}
    with pytest.raises(ModelError, match="lacks training"):
        mlm_item(replace(card, raw=raw))
    run = CliRunner().invoke(cli, ["models", "show", "clip-vit-b-16", "--mlm"])
    assert isinstance(run.exception, ModelError) and "comes from elsewhere" in str(run.exception)
