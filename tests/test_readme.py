"""What the README says, run: its commands are taken from the file, not copied here."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import geopandas as gpd
import pytest
import rasterio
from rasterio.windows import Window
from shapely import box

from rszsl.cli import cli
from rszsl.model.card import read_toml

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
RSZSL = [sys.executable, "-m", "rszsl"]
LONG = {"train", "eval", "benchmark"}
"""Take minutes to hours, on data of the reader's: read as the program reads them, and not run."""
CORNER_M = 720
"""Side of the part of the demo scene that is mapped over and over."""
ONE_AFTER_ANOTHER = """
import json, sys
from rszsl.cli import main
for arguments in json.loads(sys.argv[1]):
    try:
        main(arguments)
    except SystemExit as end:
        print("exit", end.code or 0, *arguments, file=sys.stderr, flush=True)
        if end.code:
            raise
"""
"""Runs commands in one process, so that torch is imported once, up to the first one that fails."""


def ci_line(name: str) -> str:
    """The command that `.ci/run` takes for `name`."""
    found = re.search(rf"<!-- ci:{name} -->\n```sh\n(.+)\n```", README)
    assert found, f"README.md has no command marked ci:{name}"
    return found[1]


def rszsl_lines() -> list[list[str]]:
    """Every `rszsl …` line of the README's shell blocks, as arguments."""
    blocks = re.findall(r"```sh\n(.*?)```", README, flags=re.S)
    lines = [line.strip() for block in blocks for line in block.splitlines()]
    ours = [line for line in lines if line.startswith(("rszsl ", ".venv/bin/rszsl "))]
    return [shlex.split(part, comments=True)[1:] for line in ours for part in line.split(" && ")]


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The README's first command, less the installation, in an empty folder."""
    steps = [step.strip() for step in ci_line("main").split("&&")]
    assert steps[0] == "python3 -m venv .venv" and steps[1] == ".venv/bin/pip install -q ."
    program, *arguments = shlex.split(steps[2])
    assert program == ".venv/bin/rszsl" and len(steps) == 3
    folder = tmp_path_factory.mktemp("readme")
    run = subprocess.run([*RSZSL, *arguments], cwd=folder, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    return folder, run.stderr


def test_the_first_command_gives_what_the_readme_promises(demo):
    folder, said = demo
    for promised in re.findall(r"`(rszsl-demo/[^`]+)`", README):
        assert (folder / promised).stat().st_size > 10_000, promised
    assert re.search(r"\d+ tiles = \d+ labelled \+ \d+ other \+ \d+ nodata \+ 0 failed", said)
    tiles = gpd.read_file(folder / "rszsl-demo" / "demo_scene.rszsl.gpkg", layer="tiles")
    assert tiles["status"].isin(["labelled", "other", "nodata"]).all()
    assert (tiles["status"] == "nodata").any() and (tiles["status"] == "labelled").any()


def cut(scene: Path, corner: Path) -> Path:
    """Write the upper left corner of a scene, whose tiles are those of the scene."""
    with rasterio.open(scene) as whole:
        side = round(CORNER_M / whole.res[0])
        pixels = whole.read(window=Window(0, 0, side, side))
        with rasterio.open(corner, "w", **whole.profile | {"width": side, "height": side}) as out:
            out.write(pixels)
    return corner


def test_every_rszsl_line_is_one_that_the_program_takes(demo):
    """With a corner of the demo scene in place of the reader's own; options that name files of theirs get ours."""
    folder, _ = demo
    scene = cut(folder / "rszsl-demo" / "demo_scene.tif", folder / "corner.tif")
    with rasterio.open(scene) as opened:
        left, bottom, right, top = opened.bounds
    tiles = gpd.read_file(folder / "rszsl-demo" / "demo_scene.rszsl.gpkg", layer="tiles")
    tiles = tiles[tiles.within(box(left, bottom, right, top))]
    district = gpd.GeoDataFrame(geometry=[box(left, bottom, left + CORNER_M / 2, top)], crs=32632)
    district.to_file(folder / "district.gpkg")
    clicks = tiles[tiles["status"] != "nodata"].iloc[[0, -1]]
    clicks = gpd.GeoDataFrame(
        {"kind": ["forest", "greenhouse"]}, geometry=clicks.representative_point().values, crs=32632
    )
    clicks.to_file(folder / "clicks.gpkg")
    ours = {"district.gpkg": folder / "district.gpkg", "examples/classes.txt": ROOT / "examples" / "classes.txt"}
    lines = rszsl_lines()
    assert len(lines) >= 8
    (folder / "scene.tif").symlink_to(scene)  # the cache takes its name from the scene
    commands = []
    for number, line in enumerate(line for line in lines if line[0] not in LONG):
        name = "scene.tif" if line[0] == "embed" else str(scene)
        arguments = [name if a.endswith(".tif") else str(ours.get(a, a)) for a in line]
        if arguments[0] == "map" and "-o" not in arguments and "--out" not in arguments:
            arguments += ["-o", f"out{number}.gpkg"]
        commands.append(["1,2,3" if a == "4,3,2" else a for a in arguments])
    run = subprocess.run(
        [sys.executable, "-c", ONE_AFTER_ANOTHER, json.dumps(commands)],
        cwd=folder, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-3000:]
    assert run.stderr.count("exit 0") == len(commands)


def test_every_long_line_is_one_that_the_program_reads(tmp_path):
    """With a folder for the reader's own images; recipes are ours, and must be there."""
    lines = [line for line in rszsl_lines() if line[0] in LONG]
    assert {line[0] for line in lines} == LONG
    for name, *arguments in lines:
        ours = [
            str(ROOT / a) if a.startswith("examples/") else str(tmp_path) if a == "images/" else a for a in arguments
        ]
        cli.commands[name].make_context(name, ours)


def test_the_second_command_is_how_tests_are_run():
    assert ci_line("test").endswith('.venv/bin/pip install -q -e ".[train,dev]" && .venv/bin/python -m pytest')


def test_every_linked_file_is_there():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        if not target.startswith("http"):
            assert (ROOT / target).exists(), target


def test_the_python_example_runs(demo, monkeypatch):
    folder, _ = demo
    (code,) = re.findall(r"```python\n(.*?)```", README, flags=re.S)
    code = code.replace('"scene.tif"', repr(str(folder / "rszsl-demo" / "demo_scene.tif")))
    monkeypatch.chdir(folder)
    exec(compile(code, "README.md", "exec"), {})


def test_the_models_figures_are_those_of_their_cards():
    cards = [read_toml(ROOT / "models" / name / "card.toml") for name in ("dsva-base", "dsva-small")]
    values = [{entry["what"]: entry["value"] for entry in card["accuracy"]} for card in cards]
    folds = [fold["name"] for fold in cards[0]["training"]["folds"]]
    aid = [name for name in folds if name.startswith("aid")]

    def range_of(value, what, names, scale=100, digits=1):
        found = sorted(scale * value[f"{name}: {what}"] for name in names)
        return " to ".join(dict.fromkeys(f"{figure:.{digits}f}" for figure in (found[0], found[-1])))

    def row_of(what, names=("final",)):
        return " | ".join(f"{range_of(value, f'model{what}', names)} %" for value in values)

    def presence(what):
        mosaics = "unseen on mosaics, four fifths other"
        return " | ".join(range_of(value, f"{mosaics}: {what}", folds, 1, 2) for value in values)

    for stated in (
        f"| 10 classes of AID, held out of training, by name ({len(aid)} splits) | {row_of('', aid)} | 10 % |",
        f"| 9 classes that only UC Merced shows, held out | {row_of('', ['ucm-only'])} | 11 % |",
        f"{row_of(', 5 examples a class and the name', folds)} | 10 to 11 % |",
        f"| {len(cards[0]['training']['taught'])} concepts that it was taught, new images | {row_of('')} | 3 % |",
        f"| the 19 class names of WHU-RS19, taught, new images | {row_of(', 19 names of WHU-RS19')} | 5 % |",
        f"| presence of a held-out class on mosaics, AUROC | {presence('AUROC of presence')} | 0.5 |",
        f"| the same, calibration error | {presence('calibration error')} | |",
    ):
        assert stated in README, stated
    for card in cards:
        ground_m = card["input"]["px"] * card["input"]["gsd_m"]
        assert f"expect {ground_m:.0f} m tiles, {card['input']['px']} px at" in README


def test_the_times_of_a_tile_are_those_of_the_record():
    models = json.loads((ROOT / "docs" / "benchmarks" / "cost.json").read_text(encoding="utf-8"))["figures"]["models"]
    times = [models[name]["ms_per_tile"]["2_threads_batch_32"] for name in ("dsva-base", "dsva-small")]
    assert f"| a tile on two cores of a CPU | {times[0]:.0f} ms | {times[1]:.0f} ms | |" in README
