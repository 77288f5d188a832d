"""Classes from names, from examples, and from both; with a model at our own seam."""

import geopandas as gpd
import numpy as np
import pyogrio
import pytest
import shapely
from fakes import ColourModel, painted, unit
from hypothesis import given
from hypothesis import strategies as st
from pyproj import CRS
from rasterio.transform import from_origin

import rszsl
from rszsl import ClassListError, ExamplesError, OptionError
from rszsl.cli import main
from rszsl.labels.assign import assign, contributions
from rszsl.labels.calibrate import Calibrator, score
from rszsl.labels.examples import MOST_EXAMPLES, class_row, evidence, thin_out
from rszsl.scene.examples import example_tiles, read_examples
from rszsl.scene.grid import Grid

UTM = CRS.from_epsg(32632)
LEFT, TOP, SIDE = 500_000, 5_300_000, 16
BLOCKS = ["rrg.", "rgb0", "b.0r"]
CALIBRATOR = Calibrator(
    bias=-1.0, weight_similarity=2.0, weight_margin=4.0, background_max_cosine=0.6, example_gain=1.5, example_shift=0.5
)


def rows(n, k=8, seed=0):
    return unit(np.random.default_rng(seed).normal(size=(n, k)))


def centre(row, col):
    return shapely.Point(LEFT + (col + 0.5) * SIDE, TOP - (row + 0.5) * SIDE)


def write(path, shapes, crs=UTM, **columns):
    gpd.GeoDataFrame(columns, geometry=shapes, crs=crs).to_file(path)
    return path


@pytest.fixture
def scene(make_raster):
    return make_raster(painted(BLOCKS), nodata=0)


@pytest.fixture
def clicks(tmp_path):
    """One red, one green and one blue tile, under names that the model does not know, in another CRS."""
    shapes = gpd.GeoSeries([centre(0, 0), centre(0, 2), centre(1, 2)], crs=UTM).to_crs(4326)
    return write(tmp_path / "clicks.gpkg", shapes, 4326, kind=["type 1", "type 2", "type 3"])


# The arithmetic


def test_a_name_counts_for_two_examples():
    text, examples = unit([1, 0, 0]), unit([[0, 1, 0], [0, 0, 1]])
    np.testing.assert_allclose(class_row(text, examples), unit([2, 1, 1]), atol=1e-6)
    np.testing.assert_allclose(class_row(None, examples), unit([0, 1, 1]), atol=1e-6)
    np.testing.assert_array_equal(class_row(text, examples[:0]), text)
    with pytest.raises(ValueError, match="a name's row or an example"):
        class_row(None, examples[:0])


def test_examples_that_cancel_out_leave_the_name():
    against = unit([[1, 0], [-1, 0]])
    np.testing.assert_array_equal(class_row(unit([0, 1]), against[:0]), unit([0, 1]))
    np.testing.assert_allclose(class_row(unit([0, 1]), against), unit([0, 1]), atol=1e-6)
    assert np.linalg.norm(class_row(None, against)) == pytest.approx(1)


@given(st.integers(1, 60), st.integers(0, 99), st.booleans())
def test_a_row_is_unit_and_leans_to_its_examples_the_more_there_are(k, seed, named):
    text, examples = rows(1, seed=seed)[0], unit(rows(1, seed=seed + 1) + 0.3 * rows(k, seed=seed + 2))
    row = class_row(text if named else None, examples)
    assert np.linalg.norm(row) == pytest.approx(1, abs=1e-5)
    mean = unit(examples.mean(0))
    assert row @ mean >= class_row(text, examples[:1]) @ examples[0] - 1 - 1e-5
    if named:
        doubled = class_row(text, np.concatenate([examples, examples]))
        assert doubled @ mean >= row @ mean - 1e-5


@given(st.integers(0, 6), st.integers(0, 99))
def test_presence_stays_independent_of_the_list_and_contributions_add_up(k, seed):
    tiles, background, names = rows(9, seed=seed), rows(5, seed=seed + 1), rows(3, seed=seed + 2)
    learnt = np.stack([class_row(name, rows(k, seed=seed + 3 + i)) for i, name in enumerate(names)])
    shown = evidence([k] * 3)
    alone = score(tiles, learnt[:1], background, CALIBRATOR, shown[:1])
    scores = score(tiles, learnt, background, CALIBRATOR, shown)
    np.testing.assert_allclose(alone.confidence[:, 0], scores.confidence[:, 0], atol=1e-6)
    labels = assign(scores, tiles, learnt, 0.5)
    shares = contributions(tiles, learnt[labels.choice[:, 0]])
    np.testing.assert_allclose(shares.sum(axis=1), labels.similarity, atol=1e-5)


def test_evidence_is_the_share_of_the_examples():
    np.testing.assert_allclose(evidence([0, 2, 18]), [0, 0.5, 0.9], atol=1e-6)


@given(st.integers(1, 500))
def test_thinning_keeps_both_ends_and_the_order(count):
    kept = thin_out(count)
    assert len(kept) == min(count, MOST_EXAMPLES) == len(set(kept.tolist()))
    assert kept[0] == 0 and kept[-1] == count - 1 and (np.diff(kept) > 0).all()


# The file


def places(path, field=None, grid_side=(48, 64)):
    grid = Grid.over(*grid_side, tile_height_px=SIDE, tile_width_px=SIDE)
    return example_tiles(read_examples(path, field, UTM), grid, from_origin(LEFT, TOP, 1, 1))


def test_points_and_polygons_find_their_tiles(tmp_path):
    wide = shapely.box(LEFT + 10, TOP - 30, LEFT + 45, TOP - 1)  # most of the cells in columns 1 and 2, rows 0 and 1
    small = centre(2, 3).buffer(2)
    many = shapely.MultiPoint([centre(0, 0), centre(2, 0)])
    path = write(tmp_path / "e.gpkg", [wide, small, many, centre(2, 0)], kind=["a", "b", " B ", "b"])
    tiles, missed = places(path)
    assert tiles == {"a": [1, 2, 5, 6], "b": [11, 0, 8]} and missed == 0


def test_a_point_on_the_last_edge_is_inside_and_beyond_it_is_not(tmp_path):
    corner, beyond = shapely.Point(LEFT + 64, TOP - 48), shapely.Point(LEFT + 64.01, TOP - 48)
    path = write(tmp_path / "e.gpkg", [corner, beyond], kind=["a", "a"])
    assert places(path) == ({"a": [11]}, 1)
    with pytest.raises(ExamplesError, match="all lie outside the scene; check their CRS"):
        places(path, grid_side=(16, 16))


def test_numbers_are_names_and_what_cannot_be_used_is_left_out(tmp_path):
    line = shapely.LineString([centre(0, 0), centre(0, 1)])
    path = write(tmp_path / "e.gpkg", [centre(0, 0), line, centre(0, 1)], kind=[3.0, 3.0, None])
    read = read_examples(path, None, UTM)
    assert read.names == ("3",)
    assert read.warnings == (f"2 of 3 examples in {path} are no point or polygon, or have no class: left out",)


def test_bad_files_are_refused_with_the_way_out(tmp_path):
    two = write(tmp_path / "two.gpkg", [centre(0, 0)], kind=["a"], note=["x"])
    with pytest.raises(ExamplesError, match=r"which column .*--class-field \(it has: kind, note\)"):
        read_examples(two, None, UTM)
    with pytest.raises(ExamplesError, match='no column "class"'):
        read_examples(two, "class", UTM)
    with pytest.raises(ExamplesError, match="has no CRS"):
        read_examples(write(tmp_path / "bare.shp", [centre(0, 0)], None, kind=["a"]), None, UTM)
    with pytest.raises(ExamplesError, match="cannot read the examples"):
        read_examples(tmp_path / "none.gpkg", None, UTM)
    line = shapely.LineString([centre(0, 0), centre(0, 1)])
    with pytest.raises(ExamplesError, match="no point or polygon with a class"):
        read_examples(write(tmp_path / "lines.gpkg", [line], kind=["a"]), None, UTM)


# The whole way


def test_classes_by_examples_alone(scene, clicks, tmp_path):
    result = rszsl.map_scene(scene, model=ColourModel(), output=tmp_path / "o.gpkg", examples=clicks)
    got = result.tiles["class"].fillna("-").tolist()
    meant = {"r": "type 1", "g": "type 2", "b": "type 3", ".": "other", "0": "-"}
    assert got == [meant[c] for line in BLOCKS for c in line]
    assert 'no word of "type 1" is known to the model; its 1 examples alone speak for it' in result.warnings
    run = pyogrio.read_dataframe(result.path, layer="runs").iloc[0]
    assert '"examples_used": {"type 1": 1, "type 2": 1, "type 3": 1}' in run["options"]


def test_text_only_examples_only_and_both(scene, tmp_path):
    """`red` by name, `yellow` by name corrected by examples of green, `B` by examples."""
    path = write(tmp_path / "e.gpkg", [centre(0, 2), centre(1, 1), centre(1, 2)], kind=["yellow", "yellow", "B"])
    asked = ["red", "yellow", "B"]
    plain = rszsl.map_scene(scene, asked[:2], model=ColourModel(), output=tmp_path / "p.gpkg").tiles
    result = rszsl.map_scene(scene, asked, model=ColourModel(), output=tmp_path / "o.gpkg", examples=path).tiles
    red, green, blue = ([i for i, c in enumerate("".join(BLOCKS)) if c == colour] for colour in "rgb")
    assert set(result.loc[green, "class"]) == {"yellow"} and set(result.loc[blue, "class"]) == {"B"}
    assert (result.loc[green, "similarity"] > plain.loc[green, "similarity"]).all()
    np.testing.assert_allclose(result.loc[red, "confidence"], plain.loc[red, "confidence"], atol=1e-6)


def test_examples_on_another_scene(scene, make_raster, tmp_path):
    other = make_raster(painted(["gb", "rr"]), name="other.tif", transform=from_origin(0, 1000, 1, 1))
    path = write(tmp_path / "e.gpkg", [shapely.Point(8, 992), shapely.Point(24, 992)], kind=["leaf", "lake"])
    output = tmp_path / "o.gpkg"
    given = {"model": ColourModel(), "output": output, "examples": path}
    with pytest.raises(ExamplesError, match=r"outside the scene.*--examples-scene"):
        rszsl.map_scene(scene, **given)
    tiles = rszsl.map_scene(scene, **given, examples_scene=str(other)).tiles
    assert tiles["class"][2] == "leaf" and tiles["class"][6] == "lake"


def test_relabel_with_examples_equals_a_map_and_opens_no_scene(scene, clicks, tmp_path, monkeypatch):
    cache = tmp_path / "c"
    fresh = rszsl.map_scene(scene, model=ColourModel(), output=tmp_path / "1.gpkg", examples=clicks, cache=cache)
    monkeypatch.setattr(ColourModel, "encode", lambda *_: pytest.fail("the model was asked again"))
    kept = rszsl.map_scene(scene, model=ColourModel(), output=tmp_path / "2.gpkg", examples=clicks, cache=cache)
    scene.unlink()
    again = rszsl.relabel(cache, model=ColourModel(), output=tmp_path / "3.gpkg", examples=clicks)
    assert fresh.tiles.equals(again.tiles) and fresh.tiles.equals(kept.tiles)
    assert again.warnings == fresh.warnings


def test_mistakes_about_classes(scene, clicks, tmp_path):
    def fails(kind, match, classes=None, **options):
        with pytest.raises(kind, match=match):
            rszsl.map_scene(scene, classes, model=ColourModel(), output=tmp_path / "o.gpkg", **options)
        assert not (tmp_path / "o.gpkg").exists()

    fails(ClassListError, "name the classes to find")
    fails(ExamplesError, "none of the classes asked for", "red,green", examples=clicks)
    fails(OptionError, "--class-field needs --examples", "red", class_field="kind")
    nodata = write(tmp_path / "n.gpkg", [centre(1, 3)], kind=["hole"])
    fails(ExamplesError, 'no example of "hole" in .* lies on a tile with data', examples=nodata)
    other = write(tmp_path / "other.gpkg", [centre(0, 0)], kind=["other"])
    fails(ClassListError, 'has the class "other"', examples=other)


def test_examples_of_what_is_not_asked_for_are_named(scene, clicks, tmp_path):
    result = rszsl.map_scene(scene, "type 1", model=ColourModel(), output=tmp_path / "o.gpkg", examples=clicks)
    assert f"{clicks} also shows type 2, type 3, which --classes does not name: left out" in result.warnings
    assert set(result.tiles["class"].dropna()) == {"type 1", "other"}


def test_a_name_in_another_script_is_served_by_examples(make_raster, noise, tmp_path, model):
    scene = make_raster(noise(3, 64, 64), res=(3.75, 3.75))  # one tile of 240 m
    path = write(tmp_path / "e.gpkg", [shapely.Point(LEFT + 100, TOP - 100)], kind=["太陽光"])
    with pytest.raises(ClassListError, match="write its name in English, or give --examples of it"):
        rszsl.map_scene(scene, "太陽光", model=model, output=tmp_path / "o.gpkg")
    result = rszsl.map_scene(scene, model=model, output=tmp_path / "o.gpkg", examples=path)
    assert result.tiles["class"].tolist() == ["太陽光"]
    assert result.tiles["similarity"][0] == pytest.approx(1, abs=1e-3)


def test_command_line(make_raster, noise, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    scene = str(make_raster(noise(3, 64, 64), res=(3.75, 3.75)))
    path = write(tmp_path / "e.gpkg", [shapely.Point(LEFT + 100, TOP - 100)], kind=["odd ground"], by=["me"])
    for command in (["map", scene, "--cache", "c"], ["relabel", "c", "--overwrite"]):
        with pytest.raises(SystemExit) as stopped:
            main([*command, "--examples", str(path), "--class-field", "kind", "--min-confidence", "0.01"])
        assert stopped.value.code == 0
        assert gpd.read_file("scene.rszsl.gpkg", layer="tiles")["class"].tolist() == ["odd ground"]
    with pytest.raises(SystemExit) as stopped:
        main(["map", scene, "--examples", str(path), "--overwrite"])
    assert stopped.value.code == 1 and "--class-field" in capsys.readouterr().err
