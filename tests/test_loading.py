"""Tiles cut from joint reads are the tiles that are read one by one; what is read, and what is not."""

import pickle
import threading
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import rasterio
import shapely
import torch
from fakes import ColourModel, painted
from rasterio.enums import ColorInterp
from rasterio.env import get_gdal_config
from rasterio.transform import Affine
from torch.utils.data import DataLoader

import rszsl
from rszsl import SceneDataset, TileSampler
from rszsl.errors import SceneError
from rszsl.pipeline.plan import tile_size_px
from rszsl.scene import blank, strips
from rszsl.scene.gdal import CACHE_BYTES, gdal_env, reading
from rszsl.scene.reader import Scene, open_scene
from rszsl.tiling import load_tiles, loader

TILED = {"tiled": True, "blockxsize": 64, "blockysize": 64}
SIDE = 256


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    """Many pieces for small scenes."""
    monkeypatch.setattr(strips, "PIECE_PX", (64, 128))


@pytest.fixture
def read_px(monkeypatch):
    """Scene pixels asked of GDAL so far, in a list of one number."""
    count, lock, read_raw = [0], threading.Lock(), Scene._read_raw

    def counted(scene, box, shape):
        with lock:
            count[0] += box.height_px * box.width_px
        return read_raw(scene, box, shape)

    monkeypatch.setattr(Scene, "_read_raw", counted)
    return count


def ragged(height, width):
    """uint8 (height, width): a slanting edge with holes, 0 where there is nothing."""
    row, col = np.mgrid[:height, :width]
    mask = (row * 0.7 + col > 0.8 * width + 9 * np.sin(row / 5)) & ((row // 7 * 31 + col // 5 * 17) % 23 > 0)
    return (mask * 255).astype("uint8")


def loaded(dataset, sampler, **options):
    """All batches as one: images, valid fractions, failures."""
    batches = list(load_tiles(dataset, sampler, **({"batch_size": 7} | options)))
    np.testing.assert_array_equal(np.concatenate([b.tile_ids for b in batches]), sampler.tile_ids)
    images = np.concatenate([b.images for b in batches])
    return images, np.concatenate([b.valid_fraction for b in batches]), [f for b in batches for f in b.failures]


def assert_as_read_alone(dataset, sampler, **options):
    images, valid_fraction, failures = loaded(dataset, sampler, **options)
    assert not any(failures)
    height_px, width_px = sampler.out_px
    for tile_id, image, fraction in zip(sampler.tile_ids.tolist(), images, valid_fraction, strict=True):
        window = sampler.grid[tile_id].window
        alone = dataset.scene.read_pixels(window, height_px=height_px, width_px=width_px)
        assert fraction == np.float32(alone.valid_fraction)
        if fraction:  # of a tile without data nothing is shown
            np.testing.assert_array_equal(image, alone.image)


FILES = {
    "stripped": {},
    "tiled": TILED,
    "jpeg": TILED | {"compress": "jpeg", "photometric": "ycbcr"},
    "mask": TILED | {"mask": ragged(SIDE, SIDE), "overviews": (2, 4, 8)},
    "nodata": TILED | {"nodata": 0, "overviews": (2, 4, 8)},
    "overviews": TILED | {"overviews": (2, 4, 8)},
    "south_up": TILED | {"transform": Affine(1, 0, 500_000, 0, 1, 5_300_000)},
    "uint16": TILED | {"dtype": "uint16", "nodata": 0},
    "float32": TILED | {"dtype": "float32"},
    "one_block": {"blockysize": SIDE},
}


def make_file(make_raster, noise, name, side=SIDE):
    profile = FILES[name] | ({"mask": ragged(side, side)} if "mask" in FILES[name] else {})
    array = noise(3, side, side, dtype=profile.get("dtype", "uint8"))
    array[array == 0] = 1
    if "nodata" in profile:
        array[:, ragged(side, side) == 0] = 0
    if name == "float32":
        array[:, ragged(side, side) == 0] = np.nan
    return make_raster(array, f"{name}.tif", **profile)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("side", [SIDE, SIDE - 3])
def test_joint_reads_give_the_tiles_of_single_reads(make_raster, noise, name, side):
    dataset = SceneDataset(make_file(make_raster, noise, name, side))
    for size_px, out_px, overlap in ((48, 48, 0.5), (50, 32, 0), (72, 16, 0.5), (64, 16, 0), (24, 32, 0.25)):
        assert_as_read_alone(dataset, TileSampler(dataset, size_px=size_px, out_px=out_px, overlap=overlap), threads=2)


def test_alpha_and_single_bands(make_raster, noise):
    rgba = np.concatenate([noise(3, 200, 200), ragged(200, 200)[None]])
    colours = [ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha]
    for bands in (None, (2,), (1, 1, 3)):
        dataset = SceneDataset(make_raster(rgba, colours=colours, **TILED), bands=bands)
        assert_as_read_alone(dataset, TileSampler(dataset, size_px=40, overlap=0.5))


@pytest.mark.parametrize("size", [(30, 40), (30, 400), (400, 30)])
def test_scenes_smaller_than_a_tile(make_raster, noise, size):
    dataset = SceneDataset(make_raster(noise(3, *size)))
    sampler = TileSampler(dataset, size_px=64, out_px=32, overlap=0.5)
    assert len(sampler) >= 1
    assert_as_read_alone(dataset, sampler)


def test_a_tile_does_not_depend_on_its_company(make_raster, noise):
    dataset = SceneDataset(make_file(make_raster, noise, "overviews"))
    sampler = TileSampler(dataset, size_px=64, out_px=32, overlap=0.5)
    images, _, _ = loaded(dataset, sampler)
    corner = shapely.box(500_100, 5_299_600, 500_290, 5_299_900)
    area = TileSampler(dataset, size_px=64, out_px=32, overlap=0.5, roi=corner)
    scattered = sampler.only(np.random.default_rng(0).choice(len(sampler), 20, replace=False))
    for fewer in (area, sampler.only(sampler.tile_ids[40:77]), scattered, sampler.only(np.sort(scattered.tile_ids))):
        for options in ({"batch_size": 1}, {"batch_size": 100, "threads": 3}):
            np.testing.assert_array_equal(loaded(dataset, fewer, **options)[0], images[fewer.tile_ids])


@pytest.mark.parametrize(("size_px", "out_px"), [(48, 48), (96, 48)])
def test_overlap_reads_no_pixel_twice(make_raster, noise, read_px, size_px, out_px):
    dataset = SceneDataset(make_raster(noise(3, 960, 960), **TILED))
    totals = []
    for overlap in (0, 0.5):
        read_px[0] = 0
        loaded(dataset, TileSampler(dataset, size_px=size_px, out_px=out_px, overlap=overlap))
        totals.append(read_px[0])
    assert totals[0] == 960 * 960 and totals[1] <= 1.1 * totals[0]


def test_an_area_of_interest_reads_nothing_else(make_raster, noise, read_px):
    dataset = SceneDataset(make_raster(noise(3, 960, 960), **TILED))
    corner = shapely.box(500_001, 5_299_500, 500_090, 5_299_600)
    sampler = TileSampler(dataset, size_px=48, roi=corner)
    loaded(dataset, sampler)
    assert read_px[0] <= 1.1 * len(sampler) * 48 * 48


@pytest.mark.parametrize("name", ["mask", "nodata"])
def test_tiles_that_an_overview_rules_out_are_not_read(make_raster, noise, monkeypatch, read_px, name):
    dataset = SceneDataset(make_file(make_raster, noise, name))
    sampler = TileSampler(dataset, size_px=32, overlap=0.5)
    images, valid_fraction, _ = loaded(dataset, sampler)
    with_rule = read_px[0]
    monkeypatch.setattr(blank, "FEWEST_TILES", 10**9)
    read_px[0] = 0
    all_images, all_fractions, _ = loaded(dataset, sampler)
    assert with_rule < 0.9 * read_px[0]
    np.testing.assert_array_equal(valid_fraction, all_fractions)
    np.testing.assert_array_equal(images[valid_fraction > 0], all_images[valid_fraction > 0])


@pytest.mark.parametrize("how", ["mask", "nodata"])
def test_labels_are_the_same_where_nothing_is_ruled_out(make_raster, tmp_path, monkeypatch, how):
    array = painted(["rgbrgbrgbrgb", "00gbrg00gbrg"] * 6)
    mask = ragged(*array.shape[1:])
    array[:, mask == 0] = 0
    extra = {"nodata": 0} if how == "nodata" else {"mask": mask}
    path = make_raster(array, overviews=(2, 4), **TILED, **extra)
    names = {"classes": ["red", "green", "blue"], "model": ColourModel(), "overlap": 0.5}
    ruled = rszsl.map_scene(path, output=tmp_path / "ruled.gpkg", **names).tiles
    monkeypatch.setattr(blank, "FEWEST_TILES", 10**9)
    plain = rszsl.map_scene(path, output=tmp_path / "plain.gpkg", **names).tiles
    assert (ruled["status"] == "nodata").sum() > 20 and (ruled["status"] == "labelled").sum() > 20
    pd.testing.assert_frame_equal(ruled, plain)


def test_blocks_that_are_not_stored_are_not_read(make_raster, tmp_path, read_px):
    path = make_raster(np.zeros((3, 640, 640), "uint8"), nodata=0, sparse_ok=True, **TILED)
    with rasterio.open(path, "r+") as sink:
        sink.write(np.full((3, 64, 64), 9, "uint8"), window=((128, 192), (256, 320)))
    dataset = SceneDataset(path)
    sampler = TileSampler(dataset, size_px=32)
    _, valid_fraction, _ = loaded(dataset, sampler)
    assert np.flatnonzero(valid_fraction).tolist() == [4 * 20 + 8, 4 * 20 + 9, 5 * 20 + 8, 5 * 20 + 9]
    assert read_px[0] == 64 * 64


def test_without_masks_or_overviews_nothing_is_ruled_out(make_raster, noise):
    for profile in ({"overviews": (2, 4, 8)}, {"nodata": 0}):
        scene = open_scene(str(make_raster(noise(3, 320, 320, high=1), **TILED, **profile)))
        grid = TileSampler(SceneDataset(scene), size_px=32).grid
        assert not blank.blank_tiles(scene, grid, np.arange(len(grid))).any()


def test_a_damaged_block_fails_only_its_tiles(make_raster, noise):
    path = make_raster(noise(3, 256, 256), compress="deflate", **TILED)
    dataset = SceneDataset(path)
    with rasterio.open(path) as source:
        offset, size = (int(source.get_tag_item(f"BLOCK_{w}_2_1", "TIFF", bidx=1)) for w in ("OFFSET", "SIZE"))
    whole = path.read_bytes()
    path.write_bytes(whole[:offset] + b"\xff" * size + whole[offset + size :])
    images, _, failures = loaded(dataset, TileSampler(dataset, size_px=32))
    broken = {8 * row + col for row in (2, 3) for col in (4, 5)}
    assert {i for i, f in enumerate(failures) if f} == broken
    assert all("cannot read Box" in failures[i] for i in broken)
    assert all(images[i].any() for i in range(64) if i not in broken)


def test_reading_ahead_is_bounded(make_raster, noise, monkeypatch, read_px):
    monkeypatch.setattr(loader, "AHEAD_BYTES", 100_000)
    dataset = SceneDataset(make_raster(noise(3, 1280, 640), **TILED))
    tiles = load_tiles(dataset, TileSampler(dataset, size_px=32, overlap=0.5), batch_size=8)
    next(tiles)
    tiles.close()  # waits for what is being read
    assert read_px[0] < 0.25 * 1280 * 640
    images, _, _ = loaded(dataset, TileSampler(dataset, size_px=32, overlap=0.5))
    assert len(images) == 79 * 39


def test_tiles_that_are_not_read_are_not_planned_without_end(make_raster, monkeypatch):
    monkeypatch.setattr(loader, "AHEAD_TILES", 20)
    dataset = SceneDataset(make_raster(np.zeros((3, 640, 640), "uint8"), nodata=0, overviews=(2, 4), **TILED))
    planned, window_of = [], loader.Cut
    monkeypatch.setattr(loader, "Cut", lambda *facts: planned.append(facts) or window_of(*facts))
    tiles = load_tiles(dataset, TileSampler(dataset, size_px=32), batch_size=5)
    next(tiles)
    assert 0 < len(planned) <= 20 + 5 * (loader.AHEAD + 1)
    tiles.close()


def test_eight_bit_tiles_travel_as_bytes_and_others_as_floats(make_raster, noise):
    for dtype, expected in (("uint8", "uint8"), ("uint16", "float32")):
        dataset = SceneDataset(make_raster(noise(3, 64, 64, dtype=dtype)))
        images, _, _ = loaded(dataset, TileSampler(dataset, size_px=32))
        assert images.dtype == expected


def test_transforms_reach_loaded_tiles(make_raster, noise):
    raw = noise(3, 64, 64)
    dataset = SceneDataset(make_raster(raw), transforms=lambda s: s | {"image": 1 - s["image"]})
    images, _, _ = loaded(dataset, TileSampler(dataset, size_px=32))
    np.testing.assert_allclose(images[0], 1 - raw[:, :32, :32] / 255, atol=1e-6)


def test_invalid_pixels_of_bytes_hold_the_rounded_mean(make_raster):
    data = np.full((3, 4, 4), 10, "uint8")
    data[:, 0], data[:, 1, :2] = 0, 14
    scene = open_scene(str(make_raster(data, nodata=0)))
    window = scene.read_pixels(strips.Box(0, 0, 4, 4), height_px=4, width_px=4)
    assert window.image[:, 0].tolist() == [[11] * 4] * 3  # 128 / 12 = 10.7
    np.testing.assert_allclose(scene.read(strips.Box(0, 0, 4, 4), height_px=4, width_px=4).image, window.image / 255)


def test_a_forked_worker_reads_with_a_handle_of_its_own(make_raster, noise):
    dataset = SceneDataset(make_raster(noise(3, 320, 320), compress="deflate", **TILED))
    sampler = TileSampler(dataset, size_px=32)
    here = torch.stack([dataset[query]["image"] for query in sampler])  # the parent's handle is open before the fork
    there = torch.cat([b["image"] for b in DataLoader(dataset, sampler=sampler, batch_size=10, num_workers=2)])
    assert torch.equal(here, there)


def test_the_block_cache_is_bounded_unless_the_user_says_otherwise(monkeypatch):
    monkeypatch.delenv("GDAL_CACHEMAX", raising=False)
    assert gdal_env("a.tif").options["GDAL_CACHEMAX"] == CACHE_BYTES
    with rasterio.Env(GDAL_CACHEMAX=1_000_000):
        assert "GDAL_CACHEMAX" not in gdal_env("a.tif").options
    monkeypatch.setenv("GDAL_CACHEMAX", "64")
    assert "GDAL_CACHEMAX" not in gdal_env("a.tif").options


def test_a_read_bounds_the_block_cache_and_gives_it_back(monkeypatch):
    monkeypatch.delenv("GDAL_CACHEMAX", raising=False)
    before = get_gdal_config("GDAL_CACHEMAX")
    for path in ("a.tif", "https://example.com/a.tif"):
        with pytest.raises(SceneError, match="broken"), reading(path):
            assert get_gdal_config("GDAL_CACHEMAX") == CACHE_BYTES != before
            assert bool(get_gdal_config("GDAL_HTTP_MULTIPLEX")) is path.startswith("https")
            raise SceneError("broken")
        assert get_gdal_config("GDAL_CACHEMAX") == before
    with rasterio.Env(GDAL_CACHEMAX=1_000_000), reading("a.tif"):
        assert get_gdal_config("GDAL_CACHEMAX") == 1_000_000


def test_reads_that_overlap_give_the_bound_back(monkeypatch):
    monkeypatch.delenv("GDAL_CACHEMAX", raising=False)
    before = get_gdal_config("GDAL_CACHEMAX")
    first, second = reading("a.tif"), reading("b.tif")
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    second.__exit__(None, None, None)
    assert get_gdal_config("GDAL_CACHEMAX") == before != CACHE_BYTES


def test_reading_threads_have_the_callers_env(make_raster, noise, monkeypatch):
    seen = []
    read_raw = Scene._read_raw

    def spy(scene, box, shape):
        seen.append(rasterio.env.getenv().get("GDAL_HTTP_USERAGENT"))
        return read_raw(scene, box, shape)

    monkeypatch.setattr(Scene, "_read_raw", spy)
    dataset = SceneDataset(make_raster(noise(3, 64, 64)))
    with rasterio.Env(GDAL_HTTP_USERAGENT="me"):
        loaded(dataset, TileSampler(dataset, size_px=32))
    assert set(seen) == {"me"}


def test_an_open_dataset_pickles(make_raster, noise):
    dataset = SceneDataset(make_raster(noise(3, 64, 64)))
    sampler = TileSampler(dataset, size_px=32)
    images, _, _ = loaded(dataset, sampler)
    again = pickle.loads(pickle.dumps(dataset))
    np.testing.assert_array_equal(loaded(again, sampler)[0], images)


@pytest.mark.parametrize(
    ("res_m", "overlap", "overviews", "expected"),
    [
        (0.6, 0, (), 267),  # 160 m of 0.6 m pixels, as ever
        (0.6, 0.5, (), 266),  # every second tile begins at 133 of 266 px: at 80 of 160
        (0.6, 0.25, (), 268),
        (0.3, 0.5, (2, 4, 8), 532),  # a multiple of 2, for the overlap, and of 2, for the overview
        (0.6, 0.55, (), 267),  # would need a multiple of 20: a change of more than 1 %
    ],
)
def test_with_an_overlap_tiles_begin_at_whole_pixels(make_raster, noise, res_m, overlap, overviews, expected):
    scene = open_scene(str(make_raster(noise(3, 64, 64), overviews=overviews)), gsd_m=res_m)
    card = SimpleNamespace(input_px=160, gsd_m=1.0)
    assert tile_size_px(scene, card, overlap) == (expected, expected)


def test_a_coarse_scene_is_not_enlarged(make_raster, noise):
    card = SimpleNamespace(input_px=160, gsd_m=1.0)
    coarse = open_scene(str(make_raster(noise(3, 300, 200), res=(3.0, 2.0))))
    assert (coarse.gsd.col_m, coarse.gsd.row_m) == pytest.approx((3.0, 2.0), rel=1e-3)
    # 160 of the coarser pixels, 480 m each way
    assert tile_size_px(coarse, card) == (240, 160)
    half = open_scene(str(make_raster(noise(3, 64, 64), name="half.tif", res=(1.0, 0.5))))
    assert tile_size_px(half, card) == (320, 160)
    # a tile is no larger than the scene, and no smaller than the model expects
    small = open_scene(str(make_raster(noise(3, 64, 200), name="small.tif", res=(3.0, 3.0))))
    assert tile_size_px(small, card) == (64, 64)
    tiny = open_scene(str(make_raster(noise(3, 20, 20), name="tiny.tif", res=(3.0, 3.0))))
    assert tile_size_px(tiny, card) == (53, 53)
