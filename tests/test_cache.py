"""Embed, relabel and search, with a model at our own seam; the scene is gone when it is labelled again."""

import io
import json
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pyogrio
import pytest
from click.testing import CliRunner
from fakes import ColourModel, ColourSource, MoodyModel, one_model_thread, painted
from pyproj import Transformer

import rszsl
from rszsl import CacheError, OptionError, OutputError
from rszsl.cli import cli
from rszsl.output.cache import open_cache
from rszsl.output.part import Part
from rszsl.progress import JsonLines, Silent
from rszsl.scene.fingerprint import fingerprint
from rszsl.scene.reader import open_scene

BLOCKS = ["rrg.", "rgb0", "b.0r"]


@pytest.fixture
def scene(make_raster):
    return make_raster(painted(BLOCKS), nodata=0)


@pytest.fixture
def cache(scene, tmp_path):
    return rszsl.embed_scene(scene, cache=tmp_path / "c.rszsl-cache", model=ColourModel(), batch_size=5)


def rows(result):
    return result.tiles.drop(columns="geometry").to_csv(), result.tiles.geometry.to_wkt().tolist()


def test_relabel_equals_a_fresh_map_without_the_scene(scene, cache, tmp_path):
    fresh = rszsl.map_scene(scene, "red,blue", model=ColourModel(), output=tmp_path / "fresh.gpkg")
    scene.unlink()
    again = rszsl.relabel(cache, "red,blue", model=ColourModel(), output=tmp_path / "again.gpkg")
    assert rows(again) == rows(fresh)
    assert again.regions.drop(columns="geometry").equals(fresh.regions.drop(columns="geometry"))
    assert again.counts == fresh.counts and again.counts.adds_up
    runs = [pyogrio.read_dataframe(r.path, layer="runs").iloc[0] for r in (again, fresh)]
    assert runs[0]["radiometry"] == runs[1]["radiometry"] and runs[0]["scene"] == runs[1]["scene"]


def test_map_writes_the_cache_and_then_lives_on_it(scene, tmp_path, monkeypatch):
    kept = tmp_path / "kept.rszsl-cache"
    first = rszsl.map_scene(scene, "red", model=ColourModel(), output=tmp_path / "1.gpkg", cache=kept)
    monkeypatch.setattr(ColourModel, "encode", lambda *_: pytest.fail("the model was asked again"))
    second = rszsl.map_scene(scene, "red", model=ColourModel(), output=tmp_path / "2.gpkg", cache=kept)
    assert rows(first) == rows(second)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"overlap": 0.5}, "overlap"),
        ({"min_valid": 0.1}, "min_valid"),
        ({"bands": (3, 2, 1)}, "radiometry"),
        ({"views": 4}, "views"),
        ({"gsd_m": 0.5}, "tile_px"),
    ],
)
def test_a_stale_cache_is_refused_with_what_differs(scene, cache, tmp_path, change, named):
    with pytest.raises(CacheError, match=rf"does not fit this run: .*{named}.* differ; name another --cache"):
        rszsl.map_scene(scene, "red", model=ColourModel(), output=tmp_path / "o.gpkg", cache=cache, **change)
    assert not (tmp_path / "o.gpkg").exists()


def test_a_changed_scene_or_model_is_noticed(scene, cache, make_raster, tmp_path):
    other = ColourModel()
    other.card.sha256 = "1" * 64
    with pytest.raises(CacheError, match="was made with another colours"):
        rszsl.relabel(cache, "red", model=other, output=tmp_path / "o.gpkg")
    make_raster(painted(["gggg", *BLOCKS[1:]]), nodata=0)
    with pytest.raises(CacheError, match="fingerprint differ"):
        rszsl.map_scene(scene, "red", model=ColourModel(), output=tmp_path / "o.gpkg", cache=cache)


def test_a_moved_scene_still_fits(scene, cache, tmp_path):
    moved = scene.rename(tmp_path / "moved.tif")
    result = rszsl.map_scene(moved, "red", model=ColourModel(), output=tmp_path / "o.gpkg", cache=cache)
    assert result.counts.planned == 12


def test_damaged_and_missing_caches(cache, tmp_path):
    whole = cache.read_bytes()
    cache.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CacheError, match="is damaged or no cache"):
        rszsl.relabel(cache, "red", model=ColourModel())
    with pytest.raises(CacheError, match=r"there is no cache .*none; make it with rszsl embed"):
        rszsl.relabel(tmp_path / "none", "red", model=ColourModel())
    pq.write_table(pq.read_table(_rewrite(cache, whole)).replace_schema_metadata({}), cache)
    with pytest.raises(CacheError, match="no cache of this rszsl"):
        rszsl.relabel(cache, "red", model=ColourModel())


def _rewrite(path, content):
    path.write_bytes(content)
    return path


def test_cache_is_small_and_complete(cache):
    opened = open_cache(cache)
    batches = list(opened.batches())
    assert [len(b) for b in batches] == [12]
    assert np.concatenate([b.encoded for b in batches]).sum() == 10
    assert batches[0].attributes.dtype == np.float16
    np.testing.assert_array_equal(np.concatenate([b.tile_ids for b in batches]), np.arange(12))


def test_search_by_text_and_by_example(cache, tmp_path):
    out = tmp_path / "similar.gpkg"
    found = rszsl.search(cache, "blue", model=ColourModel(), top=3, output=out)
    assert [tile for tile, _ in found[:2]] == [6, 8] and found[0][1] > 0.9
    table = pyogrio.read_dataframe(out, layer="similar")
    assert table["tile_id"].tolist() == [tile for tile, _ in found] and table["rank"].tolist() == [1, 2, 3]
    green = rszsl.search(cache, like_xy=(500_000 + 40, 5_300_000 - 8), top=100)
    assert [tile for tile, _ in green[:2]] == [2, 5] and len(green) == 10
    with pytest.raises(OutputError, match="exists; give --overwrite"):
        rszsl.search(cache, "blue", model=ColourModel(), output=out)
    with pytest.raises(OptionError, match="either a text or --like"):
        rszsl.search(cache)
    with pytest.raises(OptionError, match="--like 0,0 has no labelled tile"):
        rszsl.search(cache, like_xy=(0, 0))
    with pytest.raises(OptionError, match="has no labelled tile"):
        rszsl.search(cache, like_xy=(500_000 + 56, 5_300_000 - 24))  # nodata


def test_several_points_ask_for_what_lies_between_them(cache):
    red, green, blue = (500_000 + 8, 5_300_000 - 8), (500_000 + 40, 5_300_000 - 8), (500_000 + 40, 5_300_000 - 24)
    found = dict(rszsl.search(cache, like_xy=[red, green], top=100))
    assert len(found) == 10
    assert found[0] == pytest.approx(2**-0.5, abs=0.02) and found[2] == pytest.approx(found[0], abs=1e-3)
    assert min(found, key=found.get) in (6, 8)  # blue
    assert dict(rszsl.search(cache, like_xy=[red, red], top=100)) == dict(rszsl.search(cache, like_xy=red, top=100))
    assert [tile for tile, _ in rszsl.search(cache, like_xy=[blue], top=2)] == [6, 8]
    with pytest.raises(OptionError, match="--like 0,0 has no labelled tile"):
        rszsl.search(cache, like_xy=[red, (0, 0)])
    with pytest.raises(OptionError, match="either a text or --like"):
        rszsl.search(cache, like_xy=[])


def test_points_in_another_crs(cache):
    lon, lat = Transformer.from_crs("EPSG:32632", "EPSG:4326", always_xy=True).transform(500_040, 5_299_992)
    found = rszsl.search(cache, like_xy=(lon, lat), like_crs="EPSG:4326", top=2)
    assert found == rszsl.search(cache, like_xy=(500_040, 5_299_992), top=2)
    with pytest.raises(OptionError, match='--like-crs "nowhere" is no CRS'):
        rszsl.search(cache, like_xy=(lon, lat), like_crs="nowhere")
    with pytest.raises(OptionError, match=r"--like 9,95 has no labelled tile .*\(in EPSG:4326\)"):
        rszsl.search(cache, like_xy=(9, 95), like_crs="EPSG:4326")


def test_search_on_the_command_line(cache, tmp_path):
    out = tmp_path / "similar.gpkg"
    asked = ["search", str(cache), "--like=500008,5299992", "--like=500040,5299992", "--top=3", f"--output={out}"]
    done = CliRunner().invoke(cli, asked)
    assert done.exit_code == 0, done.output
    assert [line.split("\t")[0] for line in done.output.splitlines()] == ["1", "2", "3"]
    with closing(sqlite3.connect(out)) as db:
        ((layer, qml),) = db.execute("SELECT f_table_name, styleQML FROM layer_styles").fetchall()
    assert layer == "similar" and 'type="singleSymbol"' in qml
    bad = CliRunner().invoke(cli, ["search", str(cache), "--like=here"])
    assert isinstance(bad.exception, OptionError) and '--like "here" is not X,Y' in str(bad.exception)


def test_fingerprints(scene, make_raster, noise):
    path = make_raster(noise(3, 300, 300), "big.tif")
    mark = fingerprint(open_scene(str(path)))
    assert mark == fingerprint(open_scene(str(path))) and len(mark) == 32
    changed = noise(3, 300, 300)
    changed[1, 150, 150] ^= 1
    assert mark != fingerprint(open_scene(str(make_raster(changed, "big.tif"))))
    archived = f"/vsisubfile/0_{scene.stat().st_size},{scene}"
    assert fingerprint(open_scene(archived)) == fingerprint(open_scene(archived)) != mark


def test_existing_cache_is_kept(scene, cache):
    with pytest.raises(OutputError, match="or another --cache"):
        rszsl.embed_scene(scene, cache=cache, model=ColourModel())


def test_an_interrupted_map_leaves_no_cache(scene, tmp_path):
    class Stop(ColourModel):
        def encode(self, tiles):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rszsl.map_scene(scene, "red", model=Stop(), output=tmp_path / "o.gpkg", cache=tmp_path / "c")
    assert [p.name for p in tmp_path.iterdir()] == ["scene.tif"]


def test_a_model_that_fails_is_not_called_a_full_disk(scene, tmp_path):
    class Broken(ColourModel):
        def encode(self, tiles):
            raise RuntimeError("out of memory on the device")

    with pytest.raises(RuntimeError, match="out of memory on the device"):
        rszsl.embed_scene(scene, cache=tmp_path / "c", model=Broken())
    assert [p.name for p in tmp_path.iterdir()] == ["scene.tif"]


INTERRUPTED = """
import sys
sys.path[:0] = [{tests!r}]
from fakes import SLOW, MoodyModel
import rszsl
from rszsl.progress import JsonLines, Silent
rszsl.embed_scene({scene!r}, cache={cache!r}, model=MoodyModel(SLOW), batch_size=2, progress=JsonLines(every_s=0))
"""


class CountingModel(MoodyModel):
    """The same model as the interrupted run's, at full speed."""

    def __init__(self):
        super().__init__(ColourSource())
        self._seen = []

    @property
    def asked(self):
        return sum(self._seen)

    def encode(self, tiles):
        self._seen.append(len(tiles))
        return super().encode(tiles)


@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_run_goes_on_where_it_stopped(make_raster, tmp_path, kill):
    scene = make_raster(painted(["rgb" * 4] * 8))
    whole = rszsl.map_scene(scene, "red,blue", model=CountingModel(), output=tmp_path / "whole.gpkg")
    cache, part = tmp_path / "c.rszsl-cache", tmp_path / "c.rszsl-cache.part"
    script = INTERRUPTED.format(tests=str(Path(__file__).parent), scene=str(scene), cache=str(cache))
    # A shell starts background jobs with SIGINT ignored, and children inherit that.
    heed = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # noqa: E731
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, preexec_fn=heed) as run:
        done = next(e["done"] for e in map(json.loads, run.stdout) if e["done"] >= 10)
        run.send_signal(kill)
    assert run.returncode != 0 and part.exists() and not cache.exists()
    model, told = CountingModel(), io.StringIO()
    again = rszsl.map_scene(
        scene, "red,blue", model=model, output=tmp_path / "o.gpkg", cache=cache, progress=JsonLines(told, every_s=0)
    )
    events = [json.loads(line) for line in told.getvalue().splitlines()]
    (kept,) = [int(e["message"].split(": ")[1].split()[0]) for e in events if "interrupted" in e.get("message", "")]
    assert 10 <= done <= kept < 96 and model.asked == 96 - kept and events[-1]["done"] == 96
    assert rows(again) == rows(whole) and cache.exists() and not part.exists()
    relabelled = rszsl.relabel(cache, "red,blue", model=CountingModel(), output=tmp_path / "r.gpkg")
    assert rows(relabelled) == rows(whole)


def interrupt(scene, cache, after, **options):
    """Embed until the model has seen `after` batches of two tiles."""

    class Stop(ColourModel):
        left = after

        def encode(self, tiles):
            if not self.left:
                raise KeyboardInterrupt
            self.left -= 1
            return super().encode(tiles)

    with pytest.raises(KeyboardInterrupt), one_model_thread():
        rszsl.embed_scene(scene, cache=cache, model=Stop(), batch_size=2, **options)


def test_what_is_left_of_another_run_is_replaced(scene, tmp_path):
    kept = tmp_path / "c"
    interrupt(scene, kept, 3, overlap=0.5)
    assert (tmp_path / "c.part").exists()
    rszsl.embed_scene(scene, cache=kept, model=(model := CountingModel()))
    assert model.asked == 10 and not (tmp_path / "c.part").exists()
    np.testing.assert_array_equal(open_cache(kept).tile_ids, np.arange(12))


def test_a_part_is_read_up_to_its_last_whole_batch(scene, cache, tmp_path):
    torn = tmp_path / "torn"
    interrupt(scene, torn, 3)
    part = tmp_path / "torn.part"
    whole, found = part.read_bytes(), set()
    expected = [(b.tile_ids, b.attributes) for b in open_cache(cache).batches()]
    for length in [*range(0, len(whole), 331), len(whole)]:
        part.write_bytes(whole[:length])
        model = CountingModel()
        rszsl.embed_scene(scene, cache=torn, model=model, overwrite=True)
        found.add(model.asked)
        for got, (tile_ids, attributes) in zip(open_cache(torn).batches(), expected, strict=True):
            np.testing.assert_array_equal(got.tile_ids, tile_ids)
            np.testing.assert_array_equal(got.attributes, attributes)
    assert found == {4, 6, 8, 10}


def test_one_run_at_a_time_writes_a_cache(scene, tmp_path):
    pytest.importorskip("fcntl", reason="Windows has no flock")
    held = Part(tmp_path / "c")
    with pytest.raises(CacheError, match=r"another run is writing .*c; wait for it"):
        rszsl.embed_scene(scene, cache=tmp_path / "c", model=ColourModel())
    held.close(drop=True)
    rszsl.embed_scene(scene, cache=tmp_path / "c", model=ColourModel())


def test_an_interrupted_run_lets_go_of_its_cache_even_while_its_traceback_is_kept(scene, tmp_path):
    class Deaf(Silent):
        def advance(self, tiles):
            raise KeyboardInterrupt

    arguments = {"cache": tmp_path / "c", "model": ColourModel(), "batch_size": 4}
    with pytest.raises(KeyboardInterrupt) as kept:
        rszsl.map_scene(scene, "red", output=tmp_path / "o.gpkg", progress=Deaf(), **arguments)
    assert rszsl.embed_scene(scene, **arguments).exists() and kept.tb is not None


def test_a_cache_of_small_row_groups_is_read_all_the_same(scene, cache, tmp_path):
    fresh = rszsl.relabel(cache, "red,blue", model=ColourModel(), output=tmp_path / "1.gpkg")
    pq.write_table(pq.read_table(cache), cache, row_group_size=2)
    assert pq.ParquetFile(cache).num_row_groups == 6
    assert rows(rszsl.relabel(cache, "red,blue", model=ColourModel(), output=tmp_path / "2.gpkg")) == rows(fresh)


def test_one_matrix_alone(cache):
    (tiles,) = open_cache(cache).batches("attributes")
    assert tiles.embedding.shape == (12, 0) and tiles.attributes.shape == (12, 3)


def test_a_cache_is_labelled_without_what_takes_long_to_import(noise, make_raster, tmp_path):
    scene = make_raster(noise(3, 60, 60), res=(6.0, 6.0))
    cache = rszsl.embed_scene(scene, cache=tmp_path / "c.rszsl-cache", device="cpu")
    code = (
        "import sys, rszsl.cli\n"
        "try: rszsl.cli.main(sys.argv[1:])\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "print(sorted({'torchgeo', 'torchvision', 'timm', 'transformers', 'dask'} & set(sys.modules)))"
    )
    relabel = ["relabel", cache, "--classes", "forest", "-o", tmp_path / "o.gpkg", "-q", "--device", "cpu"]
    for command in (relabel, ["search", cache, "forest"]):
        run = subprocess.run(
            [sys.executable, "-c", code, *map(str, command)], capture_output=True, text=True, check=True
        )
        assert run.stdout.splitlines()[-1] == "[]"
