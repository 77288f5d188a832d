"""Attention maps as a raster: where each patch lies, what is in it, and what is refused."""

import resource
from itertools import pairwise

import numpy as np
import pytest
import rasterio
import torch
from click.testing import CliRunner
from fakes import ColourModel, one_model_thread, painted
from hypothesis import given
from hypothesis import strategies as st
from rasterio.transform import Affine

import rszsl
from rszsl.cli import cli
from rszsl.cli.options import parse_names
from rszsl.errors import ModelError, OptionError, OutputError
from rszsl.model.heads import DsvaHeads
from rszsl.output.attention import PatchAxis
from rszsl.scene.grid import spans
from rszsl.scene.pixels import as_floats

SIDE, TILE = 4, 16


class PatchModel(ColourModel):
    """Each attribute's map is the mean of its colour in each of 4 x 4 patches."""

    def __init__(self, side=SIDE):
        super().__init__()
        self.side = side

    def encode_with_maps(self, tiles, columns):
        n, pixels = len(tiles), TILE // self.side
        means = as_floats(tiles).reshape(n, 3, self.side, pixels, self.side, pixels).mean(axis=(3, 5))
        encoded = self.encode(tiles)
        return type(encoded)(encoded.embedding, encoded.attributes, means[:, list(columns)].astype("float32"))


class CornerModel(PatchModel):
    """Marks the upper left patch of every tile."""

    def encode_with_maps(self, tiles, columns):
        encoded = super().encode_with_maps(tiles, columns)
        encoded.maps[:] = 0
        encoded.maps[:, :, 0, 0] = 1
        return encoded


@pytest.fixture
def attend(make_raster, tmp_path):
    """Map an array with attention; gives all bands, the open raster and the result."""
    opened = []

    def run(array, *, model=None, attention=("reddish",), south_up=False, nodata=None, **options):
        transform = Affine(0.5, 0, 500_000, 0, 0.5 if south_up else -0.5, 5_300_000)
        scene = make_raster(array, transform=transform, nodata=nodata)
        result = rszsl.map_scene(
            scene, "red", model=model or PatchModel(), output=tmp_path / "out.gpkg", overwrite=True,
            gsd_m=1.0, attention=attention, **options,
        )  # fmt: skip
        opened.append(rasterio.open(result.attention))
        return opened[-1].read(), opened[-1], result

    yield run
    for raster in opened:
        raster.close()


def larger(transform, times):
    """The transform of pixels that are so many times larger."""
    a, b, c, d, e, f = transform[:6]
    return Affine(a * times, b * times, c, d * times, e * times, f)


def xy(transform, row, col):
    return transform.c + col * transform.a, transform.f + row * transform.e


@pytest.mark.parametrize("south_up", [False, True])
@pytest.mark.parametrize("overlap", [0.0, 0.5])
@pytest.mark.parametrize("shape", [(70, 53), (64, 64), (16, 100), (9, 11)])
@pytest.mark.parametrize("place", [(0.1, 0.9), (0.95, 0.55)])
def test_a_bright_patch_is_where_it_is_on_the_ground(attend, shape, overlap, south_up, place):
    row, col = (int(share * length) // SIDE * SIDE for share, length in zip(place, shape, strict=True))
    array = np.full((3, *shape), 40, "uint8")
    array[0, row : row + SIDE, col : col + SIDE] = 255
    bands, raster, result = attend(array, overlap=overlap, south_up=south_up, min_valid=0.1)
    with rasterio.open(result.path.parent / "scene.tif") as scene:
        place = xy(scene.transform, row + SIDE / 2, col + SIDE / 2)
        assert raster.crs == scene.crs and raster.transform == larger(scene.transform, SIDE)
        assert raster.shape == (-(-scene.height // SIDE), -(-scene.width // SIDE))
    best = np.unravel_index(np.nanargmax(bands[0]), raster.shape)
    found = xy(raster.transform, best[0] + 0.5, best[1] + 0.5)
    # Beside a whole patch, two patches may share the brightness.
    slack_px = 0 if raster.tags()["placement"].startswith("exact") else SIDE
    np.testing.assert_allclose(found, place, rtol=0, atol=0.5 * slack_px)


@pytest.mark.parametrize("overlap", [0.0, 0.5])
def test_whole_patches_are_exact(attend, noise, overlap):
    """Nothing is resampled: the raster is the mean of the scene over each patch."""
    array = noise(3, 64, 96)
    bands, raster, _ = attend(array, overlap=overlap, attention=("greenish", "bluish"))
    means = array.reshape(3, 16, 4, 24, 4).mean(axis=(2, 4)) / 255
    np.testing.assert_allclose(bands, means[1:], atol=1e-6)
    assert raster.tags()["placement"].startswith("exact")


def test_only_the_kept_part_of_a_tile_is_there(attend, noise):
    array = noise(3, 32, 64)
    corners, _, _ = attend(array, model=CornerModel())
    expected = np.zeros((8, 16))
    expected[::4, ::4] = 1
    np.testing.assert_array_equal(corners[0], expected)
    shared, _, result = attend(array, model=CornerModel(), overlap=0.5)
    assert result.counts.planned == 3 * 7
    np.testing.assert_array_equal(np.argwhere(shared[0]), [[0, 0]])  # all other corners are another tile's to tell


@given(st.integers(1, 400), st.integers(1, 60), st.floats(0, 0.95), st.integers(1, 16))
def test_every_patch_of_the_axis_has_one_tile_that_answers_for_it(length, tile, overlap, side):
    cut = spans(length, tile, int(tile * overlap))
    axis = PatchAxis.over(cut, side)
    assert (len(axis) - 1) * tile < length * side <= len(axis) * tile
    centre = (np.arange(len(axis)) + 0.5) * tile / side
    read0, keep0, keep1 = (
        np.array([getattr(s, name) for s in cut])[axis.tiles] for name in ("read0", "keep0", "keep1")
    )
    inside = np.minimum(centre, length - 1e-9)
    assert (keep0 <= inside + 1e-9).all() and (inside < keep1 + 1e-9).all()
    # The patch shown is at most half a patch from the pixel, but for a last pixel that reaches past the scene.
    shown = read0 + (axis.patches + 0.5) * tile / side
    assert (abs(shown - centre)[centre < length] <= tile / side / 2 + 1e-9).all()
    pixels = [axis.pixels_of(i) for i in range(len(cut))]
    assert pixels[0].start == 0 and pixels[-1].stop == len(axis)
    assert all(a.stop == b.start for a, b in pairwise(pixels))


def test_it_is_a_cloud_optimized_geotiff_with_named_bands(attend):
    array = painted(["r" * 33] * 33)
    array[:, :16, 16:32] = 0
    bands, raster, result = attend(array, model=PatchModel(side=16), attention=("bluish", "Reddish"))
    assert raster.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG" and raster.overviews(1)
    assert raster.descriptions == ("bluish", "reddish") and raster.dtypes == ("float32",) * 2
    assert np.isnan(raster.nodata) and result.attention.name == "out.attention.tif"
    assert raster.tags()["model"] == "colours 1"
    assert np.isfinite(bands).all()


@pytest.mark.parametrize("batch_size", [1, 32])
def test_tiles_without_data_are_nodata(attend, batch_size):
    bands, _, result = attend(painted(["000", "r0r", "rr0"]), nodata=0, batch_size=batch_size)
    blocks = bands[0].reshape(3, 4, 3, 4).swapaxes(1, 2)
    empty = np.isnan(blocks).all(axis=(2, 3))
    np.testing.assert_array_equal(empty, [[1, 1, 1], [0, 1, 0], [0, 0, 1]])
    assert np.isfinite(blocks[~empty]).all() and result.counts.nodata == 5


def test_the_labels_are_those_of_a_map_without(attend, make_raster, noise, tmp_path):
    array = noise(3, 40, 50)
    _, _, result = attend(array)
    plain = rszsl.map_scene(
        tmp_path / "scene.tif", "red", model=PatchModel(), output=tmp_path / "plain.gpkg", gsd_m=1.0
    )
    assert plain.attention is None and plain.tiles.equals(result.tiles)
    assert not (tmp_path / "plain.attention.tif").exists()


def test_the_bundled_model_sees_water_where_it_is_blue(model, noise):
    tiles = noise(2, 3, 160, 160)
    names = ("water", "trees")
    columns = [model.attribute_names.index(name) for name in names]
    plain, told = model.encode(tiles), model.encode_with_maps(tiles, columns)
    assert plain.maps is None and told.maps.shape == (2, 2, 5, 5)
    np.testing.assert_array_equal(plain.attributes, told.attributes)
    np.testing.assert_array_equal(plain.embedding, told.embedding)
    with torch.inference_mode():
        local = model.network((torch.from_numpy(tiles).float() / 255 - 0.5) / 0.5).local_scores[:, columns]
    np.testing.assert_allclose(told.maps.max(axis=(2, 3)), local, atol=1e-3)


@pytest.mark.parametrize("centred", [False, True])
def test_maps_of_a_trained_model_have_the_scale_of_its_local_scores(centred):
    torch.manual_seed(0)
    heads = DsvaHeads(16, 8, 0, 4, centred=centred)
    tokens = torch.randn(5, 16, 16)
    if centred:
        heads.calibrate(torch.randn(40, 16, 16), None)
    out = heads(tokens)
    torch.testing.assert_close(heads.scaled(out.maps).amax((2, 3)), out.local_scores)
    assert heads(tokens[:0]).maps.shape == (0, 8, 4, 4)  # a batch of which nothing is shown


def test_what_cannot_be_done_is_refused_before_any_work(make_raster, noise, tmp_path):
    scene, out, cache = make_raster(noise(3, 32, 32)), tmp_path / "out.gpkg", tmp_path / "c.rszsl-cache"

    def refused(kind, text, *, model=None, attention=("reddish",), call=rszsl.map_scene, first=scene, **options):
        with pytest.raises(kind, match=text):
            call(first, "red", model=model or PatchModel(), attention=attention, **options)
        assert not out.exists()

    refused(OptionError, "redish.* is no attribute of colours; near it are: reddish", attention=("redish",), output=out)
    refused(OptionError, "is empty", attention=(), output=out)
    refused(OptionError, "a tuple of names", attention="reddish", output=out)
    refused(ModelError, "colours has no attention maps", model=ColourModel(), output=out)
    (tmp_path / "out.attention.tif").touch()
    refused(OutputError, "out.attention.tif exists; give --overwrite", output=out)
    (tmp_path / "out.attention.tif").unlink()
    made = rszsl.map_scene(scene, "red", model=PatchModel(), output=out, attention=("reddish",), cache=cache)
    assert made.attention.exists() and cache.exists()  # a cache may be written on the way
    out.unlink()
    refused(OptionError, "holds no attention maps", output=out, overwrite=True, cache=cache)
    refused(OptionError, "for rszsl map", call=rszsl.relabel, first=cache, output=out)
    with pytest.raises(OptionError, match="for rszsl map"):
        rszsl.embed_scene(scene, cache=tmp_path / "d", model=PatchModel(), attention=("reddish",))


def test_never_one_file_without_the_other(make_raster, noise, tmp_path):
    scene, folder = make_raster(noise(3, 32, 32)), tmp_path / "out"
    folder.mkdir()
    (folder / "x.gpkg").mkdir()  # a folder cannot be replaced by a file: the last step of writing fails

    def run(output):
        from rszsl.classes import as_classes
        from rszsl.options import MapOptions
        from rszsl.pipeline import map_with
        from rszsl.progress import Silent

        return map_with(
            PatchModel(), str(scene), as_classes("red"), output, MapOptions(attention=("reddish",)), Silent()
        )

    (folder / "x.gpkg" / "file").touch()
    with pytest.raises(OutputError):
        run(folder / "x.gpkg")
    assert [p.name for p in folder.iterdir()] == ["x.gpkg"]
    assert sorted(p.name for p in run(folder / "y.gpkg").path.parent.iterdir()) == [
        "x.gpkg", "y.attention.tif", "y.gpkg",
    ]  # fmt: skip


@pytest.mark.parametrize("size", [20_000, 150_000])
def test_a_full_disk_is_said_and_leaves_nothing(make_raster, noise, tmp_path, size):
    """A file-size limit stands in for the full disk: the raster or what follows it does not fit."""
    scene, out = make_raster(noise(3, 192, 192)), tmp_path / "out" / "full.gpkg"
    out.parent.mkdir()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        with pytest.raises(OutputError, match=r"cannot write|is full"):
            rszsl.map_scene(scene, "red", model=PatchModel(16), output=out, attention=("reddish",))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(out.parent.iterdir()) == []


def test_the_command_line_writes_the_raster(make_raster, noise, tmp_path):
    scene = make_raster(noise(3, 300, 400))
    out = tmp_path / "o.gpkg"
    run = CliRunner().invoke(
        cli, ["map", str(scene), "--classes", "forest", "--attention", "solar panels,water", "-o", str(out), "-q"]
    )
    assert run.exit_code == 0, run.output
    with rasterio.open(tmp_path / "o.attention.tif") as source:
        assert source.descriptions == ("solar panels", "water")
    assert parse_names(" solar panels, ,water ") == ("solar panels", "water") and parse_names("") == ()


def test_attributes_without_a_name_lists_them(model):
    run = CliRunner().invoke(cli, ["attributes"])
    assert run.exit_code == 0 and tuple(run.output.splitlines()) == model.attribute_names


def test_tiles_that_an_interrupted_run_kept_have_no_maps(make_raster, noise, tmp_path):
    class Stopping(PatchModel):
        left = 2

        def encode(self, tiles):
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt
            return super().encode(tiles)

    scene, cache = make_raster(noise(3, 64, 64)), tmp_path / "a.rszsl-cache"
    given = {"output": tmp_path / "out.gpkg", "cache": cache, "batch_size": 2, "gsd_m": 1.0}
    with pytest.raises(KeyboardInterrupt), one_model_thread():
        rszsl.map_scene(scene, "red", model=Stopping(), **given)
    with pytest.raises(OptionError, match=r"holds 4 tiles of an interrupted run, without maps; name another --cache"):
        rszsl.map_scene(scene, "red", model=PatchModel(), attention=("reddish",), **given)
    assert not (tmp_path / "out.gpkg").exists() and not (tmp_path / "out.attention.tif").exists()
    assert rszsl.map_scene(scene, "red", model=PatchModel(), **given).counts.adds_up  # without maps it goes on
