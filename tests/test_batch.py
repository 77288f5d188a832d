"""Batches in this process: the list of scenes, strips, the manifest, what is written, what a second run does."""

import io
import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from itertools import pairwise

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
from batches import CLASSES, STRIP_TILES, check_same, mapped_alone, rows, run, tables, write_scene
from fakes import ColourSource
from hypothesis import given
from hypothesis import strategies as st

import rszsl
from rszsl.batch.environment import travelling
from rszsl.batch.exchange import pack, unpack
from rszsl.batch.scenes import expand
from rszsl.batch.told import BatchProgress, JsonScreen
from rszsl.batch.work import SPLIT_FROM, Brief, cut_rows, failed_labels
from rszsl.labels.collect import SceneLabels
from rszsl.options import MapOptions


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scenes")
    small = [write_scene(folder / f"s{i}.tif", 2 + i, 3, seed=i) for i in range(3)]
    return [*small, write_scene(folder / "big.tif", 23, 11, seed=9)]


@pytest.fixture(scope="module")
def alone(scenes, tmp_path_factory):
    return mapped_alone(scenes, tmp_path_factory.mktemp("alone") / "maps")


@given(st.lists(st.integers(0, 9), min_size=1, max_size=40), st.integers(1, 30))
def test_strips_hold_every_planned_tile_once(tiles_in_row, strip_tiles):
    counts = np.array(tiles_in_row)
    strips = cut_rows(counts, strip_tiles)
    assert sum(s.tiles for s in strips) == counts.sum()
    assert all(a.stop_row <= b.first_row for a, b in pairwise(strips))
    for strip in strips:
        assert strip.tiles == counts[strip.first_row : strip.stop_row].sum()
    if counts.sum() <= SPLIT_FROM * strip_tiles:
        assert len(strips) == 1


def test_labels_survive_the_journey():
    labels = failed_labels(np.array([3, 4, 9]), "no such block")
    labels.choice[1] = (2, 0, -1)
    labels.confidence[1] = (0.75, 0.25, np.nan)
    again = unpack(pack(labels))
    for name in SceneLabels.__dataclass_fields__:
        np.testing.assert_equal(getattr(again, name), getattr(labels, name))


def test_a_tile_costs_few_bytes():
    labels = SceneLabels(np.arange(4096))
    rng = np.random.default_rng(0)
    for name in ("confidence", "contribution", "margin", "similarity", "valid_fraction"):
        getattr(labels, name)[...] = rng.random(getattr(labels, name).shape, dtype="float32")
    assert len(pack(labels)) / 4096 < 50  # and this is noise, which does not compress


def test_lists_of_scenes(tmp_path):
    folder = tmp_path / "in"
    (folder / "deep").mkdir(parents=True)
    for name in ("a.tif", "b.TIF", "notes.md", "deep/a.tif"):
        (folder / name).touch()
    names = lambda *given: [s.name for s in expand([str(g) for g in given])]  # noqa: E731
    assert names(folder) == ["a", "b"]
    both = names(folder / "**" / "*.tif")
    assert len(both) == 2 and all(n.startswith("a-") for n in both) and len(set(both)) == 2
    (folder / "l.txt").write_text("# mine\na.tif  # the first\n\ns3://bucket/x/c.tif\n")
    assert [s.path for s in expand([str(folder / "l.txt")])] == [str(folder / "a.tif"), "s3://bucket/x/c.tif"]
    (folder / "l.csv").write_text("id,Path\n1,deep/a.tif\n2,b.TIF\n")
    assert names(folder / "l.csv", folder / "b.TIF") == ["a", "b"]
    (folder / "bad.csv").write_text("id,where\n1,a.tif\n")
    (folder / "bad.json").write_text('{"type": "Catalog"}')
    (folder / "torn.json").write_text('{"type": "Fea')
    for bad, said in (
        ("bad.csv", "no column for the scene"),
        ("bad.json", "no STAC item"),
        ("torn.json", "cannot read"),
        ("x*.tif", "gives no scene"),
        ("none.txt", "cannot read"),
    ):
        with pytest.raises(rszsl.BatchError, match=said):
            expand([str(folder / bad)])


def test_links_are_scenes_of_their_own(tmp_path):
    """As in `map`: two names are two scenes, under the names that were given."""
    (tmp_path / "store.tif").touch()
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("a.tif", "b.tif"):
        (folder / name).symlink_to(tmp_path / "store.tif")
    found = expand([str(folder)])
    assert [(s.name, s.path) for s in found] == [("a", str(folder / "a.tif")), ("b", str(folder / "b.tif"))]


def test_stac_items(tmp_path):
    pystac = pytest.importorskip("pystac", reason="pystac makes the items; pip install pystac")
    items = []
    for name in ("north", "south"):
        when = datetime(2026, 1, 1, tzinfo=UTC)
        item = pystac.Item(name, shapely.geometry.mapping(shapely.box(0, 0, 1, 1)), [0, 0, 1, 1], when, {})
        item.add_asset("visual", pystac.Asset(f"s3://b/{name}/TCI.tif"))
        item.add_asset("thumb", pystac.Asset("thumb.png"))
        items.append(item)
    listed = tmp_path / "items.json"
    listed.write_text(json.dumps(pystac.ItemCollection(items).to_dict()))
    found = expand([str(listed)], asset="visual")
    assert [(s.path, s.name) for s in found] == [(f"s3://b/{n}/TCI.tif", n) for n in ("north", "south")]
    with pytest.raises(rszsl.BatchError, match="several assets; give --asset with one of: visual, thumb"):
        expand([str(listed)])
    dicts = [item.to_dict() for item in items]
    table = pa.table({"id": [d["id"] for d in dicts], "assets": [d["assets"] for d in dicts]})
    pq.write_table(table, tmp_path / "items.parquet")
    assert expand([str(tmp_path / "items.parquet")], asset="visual") == found


def test_what_of_the_environment_travels_and_is_never_shown():
    here = {"AWS_SECRET_ACCESS_KEY": "hush", "GDAL_DATA": "/usr/share/gdal", "GDAL_HTTP_TIMEOUT": "9", "HOME": "/root"}
    kept = travelling(here)
    assert kept == {"AWS_SECRET_ACCESS_KEY": "hush", "GDAL_HTTP_TIMEOUT": "9"}
    assert "hush" not in repr(Brief("b", ColourSource(), CLASSES, MapOptions(), None, "1", kept))


def test_a_batch_equals_single_maps(scenes, alone, tmp_path):
    result = run(scenes, tmp_path / "out")
    assert result.clean and len(result.scenes) == 4 and result.counts.adds_up
    check_same(tmp_path / "out", alone)
    strips = rows(result.manifest, "SELECT count(*), sum(tiles) FROM strips GROUP BY scene ORDER BY 1")
    assert strips[-1] == (4, 23 * 11) and SPLIT_FROM * STRIP_TILES < 23 * 11


def test_an_area_of_interest_limits_strips_too(scenes, tmp_path):
    left, bottom, right, top = 590_000, 5_299_600, 590_200, 5_299_990
    gpd.GeoDataFrame(geometry=[shapely.Polygon([(left, bottom), (right, bottom), (left, top)])], crs=32632).to_file(
        tmp_path / "aoi.gpkg"
    )
    single = mapped_alone(scenes[3:], tmp_path / "alone", aoi=tmp_path / "aoi.gpkg")
    result = run(scenes, tmp_path / "out", aoi=tmp_path / "aoi.gpkg", extra={"strip_tiles": 20})
    assert [s.state for s in result.scenes] == ["skipped"] * 3 + ["done"] and result.clean
    assert tables(tmp_path / "out" / "big.rszsl.gpkg") == tables(single["big"])


def test_one_file_and_one_dataset(scenes, alone, tmp_path):
    far = write_scene(tmp_path / "far.tif", 3, 3, crs="EPSG:32633")
    merged = run(scenes, tmp_path / "one", extra={"merge": True})
    tiles = gpd.read_file(tmp_path / "one" / "batch.rszsl.gpkg", layer="tiles")
    single = pd.concat([gpd.read_file(p, layer="tiles") for p in alone.values()], ignore_index=True)
    assert merged.counts.planned == len(tiles) and tiles.crs.to_epsg() == 32632
    pd.testing.assert_frame_equal(tiles.drop(columns="scene"), single)
    assert len(gpd.read_file(tmp_path / "one" / "batch.rszsl.gpkg", layer="runs")) == 4
    run([*scenes, far], tmp_path / "one", extra={"merge": True})
    more = gpd.read_file(tmp_path / "one" / "batch.rszsl.gpkg", layer="tiles")
    assert len(more) == len(tiles) + 9 and more.crs.to_epsg() == 4326

    run([*scenes, far], tmp_path / "set", format="parquet")
    parts = sorted(p.relative_to(tmp_path / "set" / "tiles") for p in (tmp_path / "set" / "tiles").rglob("*.parquet"))
    assert [str(p) for p in parts] == ["crs=EPSG_32632/part-00000.parquet", "crs=EPSG_32633/part-00001.parquet"]
    near = gpd.read_parquet(tmp_path / "set" / "tiles" / "crs=EPSG_32632")
    assert near.crs.to_epsg() == 32632 and near.geometry.geom_equals(tiles.geometry).all()
    assert near["class"].fillna("").tolist() == tiles["class"].fillna("").tolist()


class Stop(Exception):
    pass


class StopAfter(BatchProgress):
    """Ends the run, as a kill would, after so many events of progress."""

    def __init__(self, events):
        super().__init__(JsonScreen(io.StringIO()))
        self.left = events

    def advance(self, scene, tiles):
        super().advance(scene, tiles)
        self.left -= 1
        if self.left < 0:
            raise Stop


@pytest.mark.parametrize("events", [1, 3, 8])
@pytest.mark.parametrize("kind", ["files", "merge", "parquet"])
def test_a_run_that_broke_off_goes_on(scenes, alone, tmp_path, events, kind):
    out = tmp_path / "out"
    more = {"extra": {"merge": True}} if kind == "merge" else {"format": "parquet"} if kind == "parquet" else {}
    with pytest.raises(Stop):
        run(list(reversed(scenes)), out, progress=StopAfter(events), **more)
    done = rows(out / "manifest.sqlite", "SELECT scene, first_row FROM strips WHERE state = 'done'")
    result = run(list(reversed(scenes)), out, **more)
    assert result.clean
    again = rows(out / "manifest.sqlite", "SELECT scene, first_row FROM strips WHERE attempts > 1")
    assert not set(done) & set(again)  # what was done is not done again
    if kind == "files":
        check_same(out, alone)
    elif kind == "merge":
        assert len(gpd.read_file(out / "batch.rszsl.gpkg", layer="tiles")) == result.counts.planned
    else:
        tiles = gpd.read_parquet(out / "tiles" / "crs=EPSG_32632")
        assert len(tiles) == len(tiles.drop_duplicates(["scene", "tile_id"])) == result.counts.planned


def test_a_strip_that_is_safe_but_not_in_the_manifest_is_taken_over(scenes, alone, tmp_path):
    """Killed between the two: the labels were kept, and the row of the manifest was not yet written."""
    out = tmp_path / "out"
    with pytest.raises(Stop):
        run(list(reversed(scenes)), out, progress=StopAfter(8))
    large = "SELECT scene FROM strips GROUP BY scene HAVING count(*) > 1 AND count(*) > sum(state = 'done')"
    with closing(sqlite3.connect(out / "manifest.sqlite")) as db, db:
        lost = db.execute(f"UPDATE strips SET state = 'running' WHERE state = 'done' AND scene IN ({large})").rowcount
    assert lost > 0
    assert run(list(reversed(scenes)), out).clean
    check_same(out, alone)


def test_a_second_run_does_nothing_and_a_changed_one_is_refused(scenes, tmp_path):
    copies = [tmp_path / s.name for s in scenes[:2]]
    for source, copy in zip(scenes, copies, strict=False):
        copy.write_bytes(source.read_bytes())
    out = tmp_path / "out"
    run(copies, out)
    before = {p.name: p.stat().st_mtime_ns for p in out.glob("*.gpkg")}
    assert run(copies, out).clean
    assert {p.name: p.stat().st_mtime_ns for p in out.glob("*.gpkg")} == before
    with pytest.raises(rszsl.BatchError, match=r"another batch: options.overlap was 0.0, is 0.5; give another --out"):
        run(copies, out, overlap=0.5)
    with pytest.raises(rszsl.BatchError, match="model was colours, is others"):
        run(copies, out, source=ColourSource(digest="others"))
    write_scene(copies[0], 2, 3, seed=77)
    with pytest.raises(rszsl.BatchError, match=r"s0.tif changed since the batch began"):
        run(copies, out)
    assert run(copies, out, overwrite=True).clean
    assert run(scenes[:3], out).counts.planned > 0  # further scenes join a batch
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "s0.rszsl.gpkg").write_text("mine")
    with pytest.raises(rszsl.OutputError, match=r"s0.rszsl.gpkg exists and is not of this batch"):
        run(scenes, tmp_path / "other")


def test_a_corrupt_scene_fails_alone_and_may_be_mended(scenes, alone, tmp_path):
    bad = tmp_path / "bad.tif"
    bad.write_text("no raster")
    out = tmp_path / "out"
    result = run([bad, *scenes], out)
    assert [s.state for s in result.scenes] == ["failed"] + ["done"] * 4
    assert "cannot open" in result.failed[0].error and not result.clean
    for path in alone.values():
        assert tables(out / path.name) == tables(path)
    write_scene(bad, 2, 2)
    assert run([bad, *scenes], out).clean


def test_two_runs_do_not_share_a_folder(scenes, tmp_path):
    out = tmp_path / "out"

    class Second(BatchProgress):
        def start(self, scene, path, tiles):
            with pytest.raises(rszsl.BatchError, match="another run is writing"):
                run(scenes, out)
            super().start(scene, path, tiles)

    assert run(scenes[:1], out, progress=Second(JsonScreen(io.StringIO()))).clean


@pytest.mark.parametrize(
    ("more", "said"),
    [({"strip_tiles": 0}, "--strip-tiles 0"), ({"retries": -1}, "--retries -1"), ({"timeout_s": 0.0}, "--timeout-s 0")],
)
def test_options_are_checked(scenes, tmp_path, more, said):
    with pytest.raises(rszsl.OptionError, match=said):
        run(scenes, tmp_path / "out", extra=more)
    with pytest.raises(rszsl.OptionError, match="--merge makes one GeoPackage"):
        run(scenes, tmp_path / "out", extra={"merge": True}, format="parquet")


def call(*arguments):
    from rszsl.cli import main

    with pytest.raises(SystemExit) as exit_:
        main([str(a) for a in arguments])
    return exit_.value.code


def test_the_command_line(make_raster, noise, model, tmp_path, capsys):
    """With a bundled model: equal to `map`, failures counted, exit codes, JSON lines, the table."""
    folder = tmp_path / "in"
    folder.mkdir()
    for i in range(2):
        make_raster(noise(3, 300, 500, seed=i), f"in/s{i}.tif")
    ask = ["--classes", "forest,river", "--device", "cpu", "--model", "dsva-small"]
    assert call("batch", folder, *ask, "--out", tmp_path / "out", "--strip-tiles", "2", "--progress", "json") == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert events[0]["event"] == "start" and events[-1]["event"] == "done" and events[-1]["scene"] is None
    assert events[-1]["batch"]["scenes_done"] == events[-1]["total"] == 2
    for i in range(2):
        single = rszsl.map_scene(folder / f"s{i}.tif", "forest,river", model=model, output=tmp_path / f"{i}.gpkg")
        mine = gpd.read_file(tmp_path / "out" / f"s{i}.rszsl.gpkg", layer="tiles")
        assert mine.geometry.equals(single.tiles.geometry) and mine["class"].equals(single.tiles["class"])
        np.testing.assert_allclose(mine["confidence"], single.tiles["confidence"], atol=1e-4)
    (folder / "torn.tif").write_text("no")
    assert call("batch", folder, *ask, "--out", tmp_path / "out") == 3
    said = capsys.readouterr().err
    assert "3 scenes = 2 done + 1 failed" in said and "torn.tif" in said
    assert call("batch", folder, *ask, "--out", tmp_path / "out", "--overlap", "0.5") == 1
    assert "options.overlap was 0.0, is 0.5" in capsys.readouterr().err
    for more, part in (
        (["--scheduler", "here"], '--scheduler "here" is none of'),
        (["--workers", "2"], "--workers 2 sizes the cluster of --scheduler local"),
        (["--report", tmp_path / "r.html"], "is of a Dask cluster"),
    ):
        assert call("batch", folder, *ask, "--out", tmp_path / "new", *more) == 1
        assert part in capsys.readouterr().err
    assert call("batch", folder, *ask) == 2


def test_python_api(make_raster, noise, model, tmp_path):
    scene = make_raster(noise(3, 200, 200))
    result = rszsl.map_scenes([scene], "forest", out=tmp_path / "out", model=model, device="cpu")
    assert isinstance(result, rszsl.BatchResult) and result.scenes[0].output.endswith("scene.rszsl.gpkg")
    assert str(result).endswith("1 scenes = 1 done")


def test_the_time_left_counts_scenes_that_nobody_has_opened(monkeypatch):
    from rszsl.batch import told

    now_s = iter(range(0, 1000, 10))
    monkeypatch.setattr(told.time, "monotonic", lambda: next(now_s))
    stream = io.StringIO()
    progress = BatchProgress(JsonScreen(stream))
    progress.open(4, 1, "")
    progress.start(7, "a.tif", 100)
    progress.advance(7, 50)
    last = json.loads(stream.getvalue().splitlines()[-1])
    assert last["done"] == 50 and last["total"] == 100 and last["batch"]["scenes_total"] == 4
    assert last["batch"]["eta_s"] == pytest.approx((50 + 2 * 100) / last["batch"]["tiles_per_s"], rel=0.5)
