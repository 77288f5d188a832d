"""Embed, relabel and search, with a model at our own seam; the scene is gone when it is labelled again."""

import sqlite3
from contextlib import closing

import numpy as np
import pyarrow.parquet as pq
import pyogrio
import pytest
from click.testing import CliRunner
from fakes import ColourModel, painted
from pyproj import Transformer

import rszsl
from rszsl import CacheError, OptionError, OutputError
from rszsl.cli import cli
from rszsl.output.cache import open_cache
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
        ({"gsd_m": 2.0}, "tile_px"),
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
