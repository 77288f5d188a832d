"""The whole way, with the bundled model, on real scenes where they are at hand."""

import shutil
import sqlite3
import subprocess
import warnings

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import rasterio
import shapely

import rszsl

CLASSES = "storage tanks,forest,farmland,river,parking lot,wetland,solar farm"
SCENES = (
    "farmland_2p5m_4326.tif",
    "landsat_rgb_300m_32618_nodata0.tif",
    "naip_wetland_5m_26914_4band.tif",
    "river_carpark_0p1m_3395.tif",
    "road_forest_0p6m_3857_cog.tif",
    "storage_tanks_2m_3857.tif",
)


@pytest.fixture(scope="module")
def mapped(shared_data, model, tmp_path_factory):
    """Each scene mapped once: name -> (path of the scene, result)."""
    out = tmp_path_factory.mktemp("maps")
    scenes = {name: shared_data / "scenes" / name for name in SCENES}
    return {n: (p, rszsl.map_scene(p, CLASSES, model=model, output=out / f"{n}.gpkg")) for n, p in scenes.items()}


@pytest.mark.parametrize("name", SCENES)
def test_counts_add_up_in_the_file_and_in_the_answer(mapped, name):
    _, result = mapped[name]
    run = gpd.read_file(result.path, layer="runs").iloc[0]
    counts = {k: int(run[k]) for k in ("planned", "labelled", "other", "nodata", "failed")}
    assert counts == result.counts.to_record()
    assert counts["planned"] == sum(counts.values()) - counts["planned"] == len(result.tiles)
    by_status = result.tiles["status"].value_counts().to_dict()
    assert by_status == {k: v for k, v in counts.items() if v and k != "planned"}
    assert result.regions["tiles"].sum() == counts["labelled"]


@pytest.mark.parametrize("name", SCENES)
def test_cells_tile_the_footprint(mapped, name):
    """Without gap or overlap, to 1e-6 of a pixel."""
    path, result = mapped[name]
    with rasterio.open(path) as source:
        footprint, pixel = shapely.box(*source.bounds), min(source.res)
    cells = result.tiles.geometry.to_numpy()
    assert shapely.coverage_is_valid(cells)
    union = shapely.coverage_union_all(cells)
    assert not shapely.get_num_interior_rings(union)
    np.testing.assert_allclose(union.bounds, footprint.bounds, rtol=0, atol=1e-6 * pixel)
    assert union.hausdorff_distance(footprint) <= 1e-6 * pixel


@pytest.mark.parametrize("name", SCENES)
def test_columns_are_honest_numbers(mapped, name):
    _, result = mapped[name]
    tiles = result.tiles
    sure = tiles[tiles["status"].isin(["labelled", "other"])]
    assert sure["confidence"].between(0, 1).all() and sure["margin"].between(0, 1).all()
    assert sure["similarity"].between(-1, 1).all() and tiles["valid_fraction"].between(0, 1).all()
    firm = tiles[tiles["status"] == "labelled"]
    np.testing.assert_allclose(firm["margin"], firm["confidence"] - firm["confidence_2"], atol=2e-6)
    labelled = tiles[tiles["status"] == "labelled"]
    assert set(labelled["class"]) <= set(CLASSES.split(","))
    assert labelled["attribute_1"].notna().all()
    assert (result.regions["area_m2"] > 0).all() and result.regions.geometry.is_valid.all()


@pytest.mark.parametrize("name", SCENES)
def test_ogrinfo_and_geopandas_read_it_without_a_warning(mapped, name):
    _, result = mapped[name]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(gpd.read_file(result.path, layer="tiles")) == result.counts.planned
    if shutil.which("ogrinfo") is None:
        pytest.skip("ogrinfo is not installed (Debian: gdal-bin)")
    run = subprocess.run(["ogrinfo", "-ro", "-al", "-so", result.path], capture_output=True, text=True, timeout=60)
    assert run.returncode == 0 and run.stderr == ""
    assert f"Feature Count: {result.counts.planned}" in run.stdout and "Layer name: regions" in run.stdout


def test_coarse_scene_is_warned_about(mapped):
    _, result = mapped["landsat_rgb_300m_32618_nodata0.tif"]
    warned = "has 300 m pixels, the model dsva-small expects 1.5 m: a tile covers 4798"
    assert any(warned in w and "in place of 240 m" in w for w in result.warnings)
    assert result.counts.nodata > 0
    _, fine = mapped["river_carpark_0p1m_3395.tif"]
    assert not any("expects" in w for w in fine.warnings)


def table_bytes(path):
    """Every row of both layers, to the byte, without timestamps."""
    with sqlite3.connect(path) as db:
        return [db.execute(f"SELECT * FROM {layer} ORDER BY fid").fetchall() for layer in ("tiles", "regions")]


def test_the_same_command_gives_the_same_tables(mapped, model, tmp_path):
    path, first = mapped["storage_tanks_2m_3857.tif"]
    again = rszsl.map_scene(path, CLASSES, model=model, output=tmp_path / "again.gpkg")
    assert table_bytes(again.path) == table_bytes(first.path)


def test_batch_size_changes_nothing(mapped, model, tmp_path):
    path, first = mapped["naip_wetland_5m_26914_4band.tif"]
    single = rszsl.map_scene(path, CLASSES, model=model, output=tmp_path / "one.gpkg", batch_size=1)
    assert single.tiles["class"].equals(first.tiles["class"])
    assert single.tiles.geometry.equals(first.tiles.geometry)
    for column in ("confidence", "confidence_2", "margin", "similarity", "contribution_1"):
        np.testing.assert_allclose(single.tiles[column], first.tiles[column], atol=1e-4)


def test_aoi_in_another_crs_limits_the_tiles(mapped, model, tmp_path):
    path, whole = mapped["storage_tanks_2m_3857.tif"]
    left, bottom, right, top = whole.tiles.total_bounds
    half = gpd.GeoDataFrame(geometry=[shapely.box(left, bottom, (left + right) / 2, top)], crs=3857).to_crs(4326)
    half.to_file(tmp_path / "half.gpkg")
    part = rszsl.map_scene(path, CLASSES, model=model, output=tmp_path / "p.gpkg", aoi=tmp_path / "half.gpkg")
    inside = whole.tiles[whole.tiles["tile_id"].isin(part.tiles["tile_id"])].reset_index(drop=True)
    assert 0 < part.counts.planned < whole.counts.planned
    assert part.tiles["class"].equals(inside["class"]) and part.tiles.geometry.equals(inside.geometry)


def test_adding_a_class_changes_no_other_confidence(mapped, model, tmp_path):
    """The confidence is of presence, not a softmax over the list."""
    path, _ = mapped["storage_tanks_2m_3857.tif"]
    few = rszsl.map_scene(path, ["forest"], model=model, output=tmp_path / "few.gpkg", min_confidence=0.0).tiles
    more = rszsl.map_scene(
        path, ["harbor", "forest"], model=model, output=tmp_path / "m.gpkg", min_confidence=0.0
    ).tiles
    forest = more["confidence"].where(more["class"] == "forest", more["confidence_2"])
    np.testing.assert_allclose(forest, few["confidence"], atol=2e-6)


def test_python_api(make_raster, noise, tmp_path, monkeypatch, model):
    monkeypatch.chdir(tmp_path)
    scene = make_raster(noise(3, 100, 100))
    result = rszsl.map_scene(str(scene), [rszsl.ClassName("forest", ("woodland",)), "river"], model=model)
    assert result.path.name == "scene.rszsl.gpkg" and result.path.resolve().parent == tmp_path
    assert isinstance(result.tiles, gpd.GeoDataFrame) and isinstance(result.regions, pd.DataFrame)
    with pytest.raises(rszsl.OutputError, match="exists; give --overwrite"):
        rszsl.map_scene(str(scene), "forest", model=model)
    with pytest.raises(TypeError):
        rszsl.map_scene(str(scene), "forest", no_such_option=1)
