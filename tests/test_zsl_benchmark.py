"""`rszsl benchmark` on a user's own folder, with a random CLIP tower and rows of one's own."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from zsl_images import CLASSES, paint_folder, write_rows

from rszsl.cli import cli
from rszsl.errors import TrainingError
from rszsl.zsl.data.layouts import read_images
from rszsl.zsl.dsva import frozen
from rszsl.zsl.dsva.recipe import RSZSL
from rszsl.zsl.experiments.rows import class_rows, dataset_rows

RECIPE = """
results = "results"
seeds = [1, 2]
text_vectors = "text.npz"

[tower]
folder = "tower"
cache = "cache"
grid = 2

[[data]]
name = "stripes"
source = "stripes"
splits = [[6, 2]]

[methods]
"chance" = ["table:rows.csv"]
"nearest row" = ["table:rows.csv", "table:rows.csv+text"]
"eszsl" = ["table:rows.csv"]
"dsva rszsl" = ["table:rows.csv"]
"""


def save_tower(folder):
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    size = {"intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "projection_dim": 16}
    torch.manual_seed(1)
    config = CLIPVisionConfig(hidden_size=32, image_size=32, patch_size=8, **size)
    CLIPVisionModelWithProjection(config).save_pretrained(folder)


def save_text(file):
    """Random vectors of some names in two spaces, as the table of real ones has them."""
    rng = np.random.default_rng(0)
    names = np.array([*CLASSES, *(f"thing {chr(97 + i)}" for i in range(12))])
    vectors = rng.normal(size=(len(names), 512)).astype("float32")
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    known = rng.normal(size=(12, 16)).astype("float32")
    np.savez(file, names=names, b32_ensemble=vectors, coco=names[-12:], coco_b16=known)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Everything that the recipe names, in the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RSZSL_DATA", raising=False)
    paint_folder(tmp_path / "stripes")
    write_rows(tmp_path / "rows.csv")
    save_tower(tmp_path / "tower")
    save_text(tmp_path / "text.npz")
    (tmp_path / "recipe.toml").write_text(RECIPE)
    (tmp_path / "page.md").write_text("# Results\n<!-- results:results -->\n<!-- /results -->\n")
    return tmp_path


def short_dsva():
    recipe = replace(RSZSL, ways=3, shots=2, epochs=1, heads_epochs=1, episodes=2)
    return (frozen.FrozenDsva("dsva rszsl", recipe, (0.1,), name_weights=(0.0, 1.0)),)


def test_a_benchmark_of_ones_own_images(folder, monkeypatch):
    monkeypatch.setattr(frozen, "frozen_methods", short_dsva)

    def run():
        result = CliRunner().invoke(cli, ["benchmark", "recipe.toml", "--table", "page.md"], catch_exceptions=False)
        assert result.exit_code == 0
        return result.output

    assert "10 of 10 runs to do" in run()
    (file,) = (folder / "results").glob("*.json")
    assert file.name == "stripes-6-2.json"
    records = json.loads(file.read_text())
    assert len(records) == 14  # DSVA makes three rows of the table
    for record in records:
        assert 0 <= record["accuracy"] <= record["oracle_accuracy"] <= 1
        assert record["harmonic"] <= record["oracle_harmonic"]
        assert record["rows_record"]["provider"] in ("table", "table+text")
        assert len(record["data_sha256"]) == 64
        assert record["command"] == "rszsl benchmark recipe.toml"
    best = {r["accuracy"] for r in records if r["method"] == "nearest row" and r["rows"] == "table:rows.csv"}
    assert max(best) > 0.5  # even a random tower sees colours
    page = (folder / "page.md").read_text()
    assert "### STRIPES 6/2" in page
    assert page.count("| dsva rszsl") == 3
    before = file.read_bytes()
    assert "0 of 10 runs to do" in run()
    assert file.read_bytes() == before
    write = [record for record in records if record["method"] != "eszsl"]
    file.write_text(json.dumps(write))
    assert "2 of 10 runs to do" in run()
    assert len(json.loads(file.read_text())) == 14
    file.write_text(file.read_text().replace(records[0]["data_sha256"], "0" * 64))
    result = CliRunner().invoke(cli, ["benchmark", "recipe.toml"])
    assert "holds results of other images or weights of stripes (sha256 000000000000" in str(result.exception)


COMPARED = """
beside = "other"

[[compare]]
first = ["chance", "table:rows.csv"]
second = ["nearest row", "table:rows.csv"]
"""


def test_results_of_another_benchmark_stand_beside_ones_own(folder):
    (folder / "recipe.toml").write_text(COMPARED.split("\n\n")[0] + RECIPE + COMPARED.split("\n\n")[1])

    def of(method, accuracy, unseen=2):
        key = {"dataset": "stripes", "seen": 6, "unseen": unseen, "seed": 1, "rows": "table:rows.csv", "tower": "t"}
        figures = {"accuracy": accuracy, "oracle_accuracy": accuracy, "harmonic": 0.5, "oracle_harmonic": 0.5}
        return [key | figures | {"method": method, "gzsl": {"unseen": 0.5, "seen": 0.5}}]

    for name, records in (
        ("results/stripes-6-2", of("chance", 0.5)),
        ("other/stripes-6-2", of("nearest row", 0.75) + of("eszsl", 0.1)),
        ("other/stripes-6-4", of("nearest row", 0.75, unseen=4)),
    ):
        file = folder / f"{name}.json"
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(records))
    result = CliRunner().invoke(cli, ["benchmark", "recipe.toml", "--table-only"], catch_exceptions=False)
    assert "| chance (table:rows.csv) | nearest row (table:rows.csv) | -25.0 | -25.0 |" in result.output
    assert "eszsl" not in result.output
    assert "6/4" not in result.output


def test_a_slip_in_a_method_is_told_before_anything_is_computed(folder):
    (folder / "recipe.toml").write_text(RECIPE.replace('"eszsl"', '"eszls"'))
    result = CliRunner().invoke(cli, ["benchmark", "recipe.toml"])
    assert isinstance(result.exception, TrainingError)
    assert "no method 'eszls'" in str(result.exception)
    assert not (folder / "cache").exists()


def run_kinds(folder, kinds):
    methods = f'[methods]\n"eszsl" = {json.dumps(kinds)}\n'
    (folder / "recipe.toml").write_text(RECIPE.partition("[methods]")[0].replace("[1, 2]", "[1]") + methods)
    result = CliRunner().invoke(cli, ["benchmark", "recipe.toml"])
    if result.exception:
        raise result.exception
    return {r["rows"]: r for r in json.loads((folder / "results" / "stripes-6-2.json").read_text())}


def test_rows_from_images_of_seen_classes_and_from_a_graph(folder, monkeypatch):
    monkeypatch.setenv("RSZSL_DATA", str(folder / "data"))
    graph = folder / "data" / "rssdivcs"
    graph.mkdir(parents=True)
    np.save(graph / "sr_rskg_70x50.npy", np.random.default_rng(0).normal(size=(8, 5)).astype("float32"))
    (graph / "class_names.txt").write_text("\n".join(name.replace(" ", "_") for name in CLASSES))
    records = run_kinds(folder, ["annotated", "graph", "table:rows.csv+annotated"])
    unseen = sorted(records["annotated"]["by_class"])
    rows = records["annotated"]["rows_record"]
    assert (rows["provider"], rows["images_looked_at"], rows["unseen_images_used"]) == ("annotated", 6 * 6, False)
    assert rows["from_text"] == unseen and rows["text"]["provider"] == "text" and rows["text"]["ridge"] is None
    assert records["graph"]["rows_record"]["provider"] == "graph"
    assert records["graph"]["rows_record"]["images_per_class"] == 0
    both = records["table:rows.csv+annotated"]["rows_record"]
    assert [part["provider"] for part in both["parts"]] == ["table", "annotated"]
    assert both["parts"][1]["images_looked_at"] == 36
    assert all(0 <= record["accuracy"] <= 1 for record in records.values())


def test_annotated_rows_touch_no_image_but_those_to_learn_from(folder):
    images = read_images(folder / "stripes")
    embeddings = np.random.default_rng(0).normal(size=(len(images.labels), 16)).astype("float32")
    seen, fit = CLASSES[:5], np.array([i for i, label in enumerate(images.labels) if label in CLASSES[:5]][::2])
    blind = np.full_like(embeddings, np.nan)
    blind[fit] = embeddings[fit]
    tables = []
    for said in (embeddings, blind):
        rows, look = dataset_rows(images, "stripes", "annotated", folder / "text.npz", said)
        assert rows.record["provider"] == "text" and look is not None
        tables.append(look(fit, seen))
    np.testing.assert_array_equal(tables[0].rows, tables[1].rows)
    assert tables[0].names == rows.names and tables[0].anchors.shape == (len(tables[0].attributes), 16)
    unseen = [tables[0].names.index(name) for name in CLASSES[5:]]
    np.testing.assert_array_equal(tables[0].rows[unseen], rows.rows[unseen])
    looked = [tables[0].names.index(name) for name in seen]
    assert not np.isclose(tables[0].rows[looked], rows.rows[looked]).all(1).any()


def test_kinds_of_rows_that_cannot_be_had(folder, monkeypatch):
    with pytest.raises(TrainingError, match=r"no class rows of kind 'anotated'; there are .* has annotated, too"):
        run_kinds(folder, ["anotated"])
    (folder / "data").mkdir()
    monkeypatch.setenv("RSZSL_DATA", str(folder / "data"))
    with pytest.raises(TrainingError, match="cannot read the knowledge-graph vectors"):
        run_kinds(folder, ["graph"])
    with pytest.raises(TrainingError, match="'annotated' are for `rszsl benchmark` alone"):
        class_rows(read_images(folder / "stripes"), "stripes", "text+annotated", None)
