"""The page of models shows the measured costs."""

import json
from importlib import import_module
from pathlib import Path

import pytest

import rszsl

DOCS = Path(__file__).resolve().parents[1] / "docs"
RECORD = DOCS / "benchmarks" / "cost.json"

pytestmark = pytest.mark.skipif(not RECORD.exists(), reason="no record: python tests/benchmarks/bench_cost.py makes it")


def test_the_table_is_made_of_the_record(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent / "benchmarks"))
    figures = json.loads(RECORD.read_text())["figures"]
    shown = import_module("bench_cost").table(figures)
    assert shown in (DOCS / "MODELS.md").read_text(encoding="utf-8")
    assert shown.count("ms |") == 4 * 4
    assert all(f"`{name}` loads in {load['load_s']:.2f} s" in shown for name, load in figures["load"].items())


@pytest.mark.parametrize("name", ["dsva-small", "dsva-base"])
def test_the_record_is_of_the_models_that_are_there_and_they_load_in_two_seconds(name):
    figures = json.loads(RECORD.read_text())["figures"]
    network = rszsl.load_model(name, device="cpu", runtime="torch").network
    parameters = sum(p.numel() for p in network.parameters()) / 1e6
    assert abs(figures["models"][name]["parameters_millions"] - parameters) < 0.1
    assert figures["load"][name]["load_cpu_s"] < 2


def test_the_small_model_is_far_smaller_than_clip_and_the_other_takes_a_fraction_of_its_room():
    models = json.loads(RECORD.read_text())["figures"]["models"]
    small, base, *towers = models.values()
    assert all(10 * small["parameters_millions"] < tower["parameters_millions"] for tower in towers)
    assert all(3 * base["image_side_megabytes"] < tower["image_side_megabytes"] for tower in towers)
