import json
import sqlite3
import subprocess
import sys

import geopandas as gpd
import numpy as np
import pyogrio
import pytest
import shapely
from affine import Affine
from fakes import ColourModel, painted
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import CRS

from rszsl import MapOptions, OutputError
from rszsl.classes import as_classes
from rszsl.output.regions import find_regions
from rszsl.output.styles import class_colours, regions_qml, tiles_qml
from rszsl.output.writer import FORMATS, check_output, writing
from rszsl.pipeline import map_with
from rszsl.progress import Silent
from rszsl.scene.georef import geodesic_areas_m2
from rszsl.scene.grid import Grid


@pytest.fixture
def colour_map(make_raster, tmp_path):
    """Map a painted scene with the colour model; returns the result."""

    def run(blocks, classes="red,green,blue", name="out.gpkg", **options):
        scene = make_raster(painted(blocks), nodata=0)
        chosen = MapOptions(**{"overwrite": True} | options)
        return map_with(ColourModel(), str(scene), as_classes(classes), tmp_path / name, chosen, Silent())

    return run


def test_tiles_hold_what_the_contract_names(colour_map):
    result = colour_map(["rg", ".0"])
    tiles = result.tiles.set_index("tile_id")
    assert result.counts.to_record() == {"planned": 4, "labelled": 2, "other": 1, "nodata": 1, "failed": 0}
    assert tiles["status"].tolist() == ["labelled", "labelled", "other", "nodata"]
    assert tiles["class"].tolist()[:3] == ["red", "green", "other"] and tiles["class"].isna()[3]
    assert tiles[["row_px", "col_px"]].to_numpy().tolist() == [[0, 0], [0, 16], [16, 0], [16, 16]]
    red = tiles.loc[0]
    assert red["attribute_1"] == "reddish" and red["contribution_1"] == pytest.approx(red["similarity"], abs=0.05)
    assert red["margin"] == pytest.approx(red["confidence"] - red["confidence_2"], abs=1e-5)
    assert tiles["valid_fraction"].tolist() == [1, 1, 1, 0]
    other = tiles.loc[2]
    assert other["confidence"] == pytest.approx(1 - other["confidence_2"], abs=1e-5)
    assert other["class_2"] in ("red", "green", "blue")
    assert tiles["attribute_1"].isna().tolist() == [False, False, True, True]
    assert tiles.loc[3][["confidence", "similarity", "class_2", "attribute_1"]].isna().all()
    columns = "row_px col_px status class confidence margin similarity class_2 confidence_2 class_3 confidence_3"
    columns += " attribute_1 contribution_1 attribute_2 contribution_2 attribute_3 contribution_3 valid_fraction note"
    assert list(tiles.columns) == [*columns.split(), "geometry"]


def test_regions_dissolve_neighbours_of_one_class(colour_map):
    result = colour_map(["rrg", "r.g", "rrg"])
    regions = result.regions
    assert regions["class"].tolist() == ["red", "green"]
    assert regions["tiles"].tolist() == [5, 3]
    assert regions["attribute_1"].tolist() == ["reddish", "greenish"]
    similarity = result.tiles.groupby("class")["similarity"].mean()[["red", "green"]]
    shares = regions[["contribution_1", "contribution_2", "contribution_3"]]
    np.testing.assert_allclose(shares.sum(axis=1), similarity, atol=5e-6)  # three attributes are all
    columns = ["class", "confidence_mean", "confidence_max", "tiles", "area_m2"]
    columns += ["attribute_1", "contribution_1", "attribute_2", "contribution_2", "attribute_3", "contribution_3"]
    assert list(regions.columns) == [*columns, "geometry"]
    assert regions.geometry.area.tolist() == pytest.approx([5 * 256, 3 * 256])
    assert regions["area_m2"].tolist() == pytest.approx([5 * 256, 3 * 256], rel=2e-3)  # UTM scale 0.9996 squared
    assert (regions["confidence_max"] >= regions["confidence_mean"]).all()


def test_a_region_keeps_its_hole(colour_map):
    (ring,) = colour_map(["rrr", "r.r", "rrr"]).regions.geometry
    assert len(ring.interiors) == 1 and ring.area == 8 * 256


def test_diagonal_neighbours_stay_apart(colour_map):
    assert colour_map(["r.", ".r"]).regions["tiles"].tolist() == [1, 1]


@settings(max_examples=40)
@given(st.integers(1, 9), st.integers(1, 9), st.floats(0, 0.8), st.integers(0, 10**6))
def test_regions_cover_exactly_their_cells(n_rows, n_cols, overlap, seed):
    random = np.random.default_rng(seed)
    grid = Grid.over(n_rows * 10, n_cols * 10, tile_height_px=10, tile_width_px=10, overlap=overlap)
    classes = random.integers(-1, 3, len(grid))
    sure = random.random(len(grid)).astype("float32")
    regions = find_regions(grid, np.arange(len(grid)), classes, sure, Affine(1, 0, 0, 0, 1, 0))
    assert regions.tiles.sum() == (classes >= 0).sum()
    assert all(isinstance(p, shapely.Polygon) and p.is_valid for p in regions.polygons)
    cells = [shapely.box(t.cell.col_px, t.cell.row_px, t.cell.end_col_px, t.cell.end_row_px) for t in grid]
    for c in range(3):
        expected = shapely.union_all([cell for cell, k in zip(cells, classes, strict=True) if k == c])
        mine = regions.polygons[regions.class_id == c]
        assert shapely.union_all(mine).symmetric_difference(expected).area < 1e-9
        assert shapely.area(mine).sum() == pytest.approx(expected.area)


def test_geopackage_is_read_by_ogrinfo_without_a_warning(colour_map):
    path = colour_map(["rg", ".0"]).path
    assert {tuple(layer) for layer in pyogrio.list_layers(path)} >= {
        ("tiles", "Polygon"), ("regions", "Polygon"), ("runs", None)
    }  # fmt: skip
    with sqlite3.connect(path) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (10200,)
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        rtrees = {r[0] for r in db.execute("SELECT name FROM sqlite_master WHERE name LIKE 'rtree%geom'")}
        assert rtrees == {"rtree_tiles_geom", "rtree_regions_geom"}
        styles = db.execute(
            "SELECT f_table_name, f_geometry_column, useAsDefault, styleQML FROM layer_styles"
        ).fetchall()
        assert [s[:3] for s in styles] == [("tiles", "geom", 1), ("regions", "geom", 1)]
        assert "categorizedSymbol" in styles[0][3]
    for layer in ("tiles", "regions"):
        about = pyogrio.read_info(path, layer=layer)["layer_metadata"]
        assert about["tiles"].startswith("planned 4, labelled 2")


def test_reading_a_geopackage_leaves_nothing_beside_it(colour_map):
    path = colour_map(["rg", ".0"]).path
    before = sorted(path.parent.iterdir())
    for layer in ("tiles", "regions"):
        gpd.read_file(path, layer=layer)
    assert sorted(path.parent.iterdir()) == before


def test_runs_record_everything(colour_map):
    result = colour_map(["rg", ".0"], classes=["red", "green"], min_valid=0.25, bands=(1, 2, 3))
    run = pyogrio.read_dataframe(result.path, layer="runs").iloc[0]
    assert run["planned"] == run["labelled"] + run["other"] + run["nodata"] + run["failed"] == 4
    assert [c["name"] for c in json.loads(run["classes"])] == ["red", "green"]
    options = json.loads(run["options"])
    assert options["min_valid"] == 0.25 and options["min_confidence"] == 0.5 and options["device"] == "cpu"
    assert json.loads(run["radiometry"])["source"] == "8-bit"
    assert json.loads(run["versions"])["rszsl"] and run["model"] == "colours 1" and run["seconds"] >= 0


@pytest.mark.parametrize("name", ["geojson", "flatgeobuf", "parquet"])
def test_other_formats_hold_the_same_regions(colour_map, name):
    columns = ["class", "tiles", "area_m2"]
    expected = colour_map(["rrg", "r.g"]).regions
    path = f"out{FORMATS[name].suffix}"
    result = colour_map(["rrg", "r.g"], name=path, format=name)
    got = result.regions.sort_values("tiles", ascending=False, ignore_index=True)  # FlatGeobuf has its own order
    assert got[columns].to_numpy().tolist() == expected[columns].to_numpy().tolist()
    if name == "geojson":
        assert got.crs.to_epsg() == 4326
        got = got.to_crs(expected.crs)
    assert got.crs == expected.crs
    tolerance = 0.5 if name == "geojson" else 0  # RFC 7946 writes 7 decimals of a degree: 1 cm
    assert (got.symmetric_difference(expected, align=False).area <= tolerance).all()
    record = json.loads((result.path.parent / f"{path}.run.json").read_text())
    assert record["planned"] == 6
    with pytest.raises(OutputError, match="holds regions only"):
        _ = result.tiles


def test_refined_regions_speak_for_the_classes_that_they_ended_with(colour_map):
    result = colour_map(["rrg", "r.g", "bbg"], refine=True)
    similarity = result.tiles.groupby("class")["similarity"].mean()
    shares = result.regions.set_index("class")[["contribution_1", "contribution_2", "contribution_3"]].sum(axis=1)
    np.testing.assert_allclose(shares, similarity[shares.index], atol=5e-6)


@pytest.mark.parametrize("batch_size", [1, 4])
def test_a_tile_without_a_valid_pixel_is_nodata_whatever_is_asked(colour_map, batch_size):
    result = colour_map(["r0", "00"], min_valid=0.0, min_confidence=0.0, batch_size=batch_size)
    assert result.counts.to_record() == {"planned": 4, "labelled": 1, "other": 0, "nodata": 3, "failed": 0}


def test_no_labels_still_give_both_layers(colour_map):
    result = colour_map(["..", ".."], classes="red")
    assert len(result.regions) == 0 and len(result.tiles) == 4
    assert result.counts.other == 4


def test_geodesic_area_of_a_square_degree():
    areas = geodesic_areas_m2(np.array([shapely.box(10, 0, 11, 1)]), CRS.from_epsg(4326))
    assert areas[0] == pytest.approx(12_308_778_361, rel=1e-6)  # GeographicLib: 12308778361.469


def test_existing_output_is_kept(tmp_path):
    path = tmp_path / "a.gpkg"
    path.write_text("mine")
    with pytest.raises(OutputError, match=r"a.gpkg exists; give --overwrite to replace it"):
        check_output(path, overwrite=False)
    with pytest.raises(OutputError, match="is a folder"):
        check_output(tmp_path, overwrite=True)
    with pytest.raises(OutputError, match="does not exist; create it"):
        check_output(tmp_path / "no" / "a.gpkg", overwrite=True)
    assert path.read_text() == "mine"


def test_a_failed_write_leaves_what_was_there(tmp_path):
    path = tmp_path / "a.gpkg"
    path.write_text("mine")
    with pytest.raises(OutputError, match="cannot write"), writing(path) as part:
        part.write_text("half")
        raise OSError("the cable fell out")
    assert path.read_text() == "mine" and list(tmp_path.iterdir()) == [path]


FULL_DISK = """
import resource, sys
sys.path[:0] = [{tests!r}]
from fakes import ColourModel
from rszsl import MapOptions, RszslError
from rszsl.classes import as_classes
from rszsl.pipeline import map_with
from rszsl.progress import Silent
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
try:
    map_with(ColourModel(), {scene!r}, as_classes("red"), __import__("pathlib").Path({out!r}), MapOptions(), Silent())
except RszslError as err:
    print(err)
"""


def test_a_full_disk_is_said_and_leaves_nothing(make_raster, tmp_path):
    """A file-size limit stands in for the full disk: the kernel refuses the write in the same place."""
    scene = make_raster(painted(["rg" * 20] * 20, side=16))
    out = tmp_path / "out" / "full.gpkg"
    out.parent.mkdir()
    script = FULL_DISK.format(tests=str(__file__).rpartition("/")[0], scene=str(scene), out=str(out))
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert "full.gpkg" in run.stdout and ("cannot write" in run.stdout or "is full" in run.stdout), run.stderr
    assert list(out.parent.iterdir()) == []


def test_styles_name_every_class_once():
    names = [f"class {i}" for i in range(40)]
    colours = class_colours(names)
    assert len(set(colours.values())) == 40
    for qml in (tiles_qml(names), regions_qml(names)):
        assert all(qml.count(f'value="{n}"') == 1 for n in names)
    assert "other (none of the classes)" in tiles_qml(names)
    assert '&lt;&amp;"' not in tiles_qml(['a<&"b']) and "a&lt;&amp;&quot;b" in tiles_qml(['a<&"b'])


def test_geopackage_is_a_plain_geodataframe(colour_map):
    frame = gpd.read_file(colour_map(["r"]).path, layer="tiles")
    assert frame.crs.to_epsg() == 32632
