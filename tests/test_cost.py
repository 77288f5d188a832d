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
    assert shown.count("ms |") == 3 * 4 and f"loads in {figures['load']['load_s']:.2f} s" in shown


def test_the_bundled_model_is_smaller_than_clip_and_loads_in_two_seconds():
    figures = json.loads(RECORD.read_text())["figures"]
    ours, *towers = figures["models"].values()
    network = rszsl.load_model(device="cpu", runtime="torch").network
    parameters = sum(p.numel() for p in network.parameters()) / 1e6
    assert abs(ours["parameters_millions"] - parameters) < 0.1
    assert all(10 * ours["parameters_millions"] < tower["parameters_millions"] for tower in towers)
    assert figures["load"]["load_cpu_s"] < 2
