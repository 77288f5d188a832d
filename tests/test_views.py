"""Several views of each tile: how tiles are turned, what the mean is, and that every way of mapping takes them."""

import json

import numpy as np
import pyogrio
import pytest
from fakes import ColourModel, painted
from hypothesis import given
from hypothesis import strategies as st

import rszsl
from rszsl.cli import main
from rszsl.errors import OptionError
from rszsl.model.encoder import Encoded
from rszsl.model.views import many_views, turned, turned_back
from rszsl.options import VIEWS

SIDE_PX = 160


class UprightModel(ColourModel):
    """Says what is in the upper left quarter of a tile."""

    def encode(self, tiles):
        return super().encode(np.repeat(np.repeat(tiles[..., :8, :8], 2, axis=2), 2, axis=3))


@pytest.fixture(scope="module")
def small():
    return rszsl.load_model("dsva-small", device="cpu")


@pytest.fixture
def scene(make_raster, noise):
    return make_raster(noise(3, 200, 330))


@pytest.fixture
def tiles(noise):
    return np.stack([noise(3, SIDE_PX, SIDE_PX), noise(3, SIDE_PX, SIDE_PX)])


def said(result):
    return result.tiles.drop(columns="geometry").to_csv(), result.tiles.geometry.to_wkt().tolist()


@given(st.integers(1, 5), st.integers(0, 7))
def test_turning_back_undoes_turning(side_px, view):
    picture = np.arange(2 * 3 * side_px**2, dtype="float32").reshape(2, 3, side_px, side_px)
    seen = turned(picture, view)
    assert seen.flags["C_CONTIGUOUS"]
    np.testing.assert_array_equal(turned_back(seen, view), picture)


def test_views_are_all_there_are_and_begin_with_the_tile_itself():
    picture = np.arange(9, dtype="uint8").reshape(1, 1, 3, 3)
    found = [turned(picture, view) for view in range(max(VIEWS))]
    np.testing.assert_array_equal(found[0], picture)
    np.testing.assert_array_equal(found[1], picture[..., ::-1, ::-1])
    assert len({view.tobytes() for view in found}) == 8
    assert {view[0, 0, 1, 1] for view in found} == {4}
    corners = [view[0, 0, 0, 0] for view in found]
    assert sorted(corners[:4]) == sorted(corners[4:]) == [0, 2, 6, 8]


def test_one_view_is_the_model_itself(small):
    assert many_views(small.encode, 1) == small.encode


@pytest.mark.parametrize(("views", "blind_to"), [(2, [1]), (4, [1, 2, 3]), (8, range(1, 8))])
def test_the_mean_does_not_depend_on_how_the_tile_lies(small, tiles, views, blind_to):
    encode, plain = many_views(small.encode, views), small.encode(tiles).attributes
    answer = encode(tiles)
    np.testing.assert_allclose(np.linalg.norm(answer.attributes, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(answer.embedding, axis=1), 1, atol=1e-6)
    for view in blind_to:
        again = encode(turned(tiles, view))
        np.testing.assert_allclose(again.attributes, answer.attributes, atol=1e-4)
        np.testing.assert_allclose(again.embedding, answer.embedding, atol=1e-4)
        assert np.abs(small.encode(turned(tiles, view)).attributes - plain).max() > 1e-3


def test_the_mean_is_of_directions():
    answers = iter([[[1.0, 0.0]], [[0.0, 1.0]]])

    def encode(_):
        rows = np.array(next(answers), "float32")
        return Encoded(rows, rows)

    found = many_views(encode, 2)(np.zeros((1, 3, 4, 4), "uint8"))
    np.testing.assert_allclose(found.attributes, [[0.5**0.5, 0.5**0.5]], atol=1e-7)
    assert found.maps is None


def test_attention_maps_are_turned_back(small, tiles):
    """What is seen in a corner of the tile stays in that corner."""
    both = many_views(lambda shown: small.encode_with_maps(shown, [0, 5]), 8)
    maps = both(tiles).maps
    assert maps.shape[:2] == (2, 2)
    np.testing.assert_allclose(maps[:, 0], np.mean(
        [turned_back(small.encode_with_maps(turned(tiles, v), [0]).maps, v)[:, 0] for v in range(8)], axis=0
    ), atol=1e-5)  # fmt: skip
    np.testing.assert_allclose(both(turned(tiles, 6)).maps, turned(maps, 6), atol=1e-3)


def test_a_mark_in_one_corner_counts_in_every_view(make_raster, tmp_path):
    """The model looks at a quarter of the tile; with two views at the opposite one, too; with four at all of it."""
    array = np.zeros((3, 16, 16), "uint8")
    array[2] = 200
    array[:, 8:, 8:] = [[[200]], [[0]], [[0]]]
    path = make_raster(array)
    red = {
        views: rszsl.map_scene(
            path, "red", model=UprightModel(), views=views, gsd_m=1.0, output=tmp_path / f"{views}.gpkg"
        ).tiles["similarity"].iloc[0]
        for views in VIEWS
    }  # fmt: skip
    assert red[1] < red[4] == pytest.approx(red[8], abs=1e-3)
    assert red[4] < red[2]


def test_every_way_of_mapping_takes_them(scene, tmp_path):
    """A map, a batch, a cache that is labelled again, other batch sizes: the same; one view: other figures."""
    same = {"model": "dsva-small", "device": "cpu", "views": 4, "gsd_m": 1.5, "overlap": 0.5}
    fresh = rszsl.map_scene(scene, "forest,quarry", output=tmp_path / "a.gpkg", **same)
    assert fresh.counts.adds_up and fresh.counts.planned > 1
    assert json.loads(pyogrio.read_dataframe(fresh.path, layer="runs").iloc[0]["options"])["views"] == 4
    other = rszsl.map_scene(scene, "forest,quarry", output=tmp_path / "b.gpkg", batch_size=1, **same)
    np.testing.assert_allclose(other.tiles["similarity"], fresh.tiles["similarity"], atol=1e-4)
    cache = rszsl.embed_scene(scene, cache=tmp_path / "c.rszsl-cache", **same)
    again = rszsl.relabel(cache, "forest,quarry", output=tmp_path / "d.gpkg", device="cpu", views=1)
    assert json.loads(pyogrio.read_dataframe(again.path, layer="runs").iloc[0]["options"])["views"] == 4
    assert said(again) == said(fresh)
    batch = rszsl.map_scenes([scene], "forest,quarry", out=tmp_path / "many", **same)
    (row,) = batch.scenes
    found = pyogrio.read_dataframe(tmp_path / "many" / row.output, layer="tiles")
    np.testing.assert_allclose(found["similarity"], fresh.tiles["similarity"], atol=1e-4)
    plain = rszsl.map_scene(scene, "forest,quarry", output=tmp_path / "e.gpkg", **same | {"views": 1})
    assert np.abs(plain.tiles["similarity"] - fresh.tiles["similarity"]).max() > 1e-3


def test_no_other_number_of_views(scene, tmp_path, capsys):
    with pytest.raises(OptionError, match=r"--views 3 is none of 1, 2, 4, 8"):
        rszsl.map_scene(scene, "red", model=ColourModel(), views=3)
    with pytest.raises(SystemExit) as left:
        main(["map", str(scene), "--classes", "red", "--views", "0", "-o", str(tmp_path / "o")])
    said = capsys.readouterr().err
    assert left.value.code == 1 and "--views 0 is none of 1, 2, 4, 8" in said and "Traceback" not in said
    assert not (tmp_path / "o").exists()


def test_bench_says_how_many(make_raster, tmp_path, capsys):
    path, file = make_raster(painted(["rg", "b."])), tmp_path / "b.json"
    with pytest.raises(SystemExit) as left:
        main(["bench", str(path), "--views", "2", "--device", "cpu", "--json", str(file)])
    assert not left.value.code
    assert json.loads(file.read_text())["views"] == 2
    assert "views of a tile: 2" in " ".join(capsys.readouterr().out.split())
