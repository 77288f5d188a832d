import math
import os
import pickle
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyproj import Geod
from rasterio.enums import ColorInterp, Resampling
from rasterio.transform import Affine, from_origin

from rszsl import OptionError, SceneError
from rszsl.scene.grid import Box
from rszsl.scene.reader import SAMPLE_SIDE_PX, open_scene


def read_all(scene):
    return scene.read(Box(0, 0, scene.height_px, scene.width_px), height_px=scene.height_px, width_px=scene.width_px)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 60), st.integers(0, 40), st.integers(1, 30), st.integers(1, 40))
def test_native_windows_equal_plain_rasterio(make_raster, noise, row, col, height, width):
    path = make_raster(noise(3, 91, 83))
    tile = open_scene(str(path)).read(Box(row, col, height, width), height_px=height, width_px=width)
    with rasterio.open(path) as source:
        plain = source.read(window=((row, row + height), (col, col + width)))
    np.testing.assert_array_equal(np.round(tile.image * 255).astype("uint8"), plain)
    assert tile.valid.all()


def test_downsampling_averages_like_rasterio(make_raster, noise):
    path = make_raster(noise(3, 128, 128))
    tile = open_scene(str(path)).read(Box(0, 0, 128, 128), height_px=32, width_px=32)
    with rasterio.open(path) as source:
        plain = source.read(out_shape=(3, 32, 32), resampling=Resampling.average)
    np.testing.assert_array_equal(np.round(tile.image * 255).astype("uint8"), plain)


@pytest.mark.parametrize(
    ("count", "colours", "asked", "expected"),
    [
        (3, None, None, (1, 2, 3)),
        (4, [ColorInterp.blue, ColorInterp.green, ColorInterp.red, ColorInterp.undefined], None, (3, 2, 1)),
        (1, None, None, (1, 1, 1)),
        (2, [ColorInterp.gray, ColorInterp.alpha], None, (1, 1, 1)),
        (5, None, (4, 3, 2), (4, 3, 2)),
        (5, None, (5,), (5, 5, 5)),
    ],
)
def test_bands(make_raster, noise, count, colours, asked, expected):
    path = make_raster(noise(count, 8, 8), colours=colours)
    assert open_scene(str(path), bands=asked).bands == expected


def test_guessed_bands_are_said(make_raster, noise):
    path = make_raster(
        noise(4, 8, 8), photometric="MINISBLACK", colours=[ColorInterp.gray] + [ColorInterp.undefined] * 3
    )
    assert "took 1,2,3; give --bands" in open_scene(str(path)).warnings[0]


def test_single_band_is_repeated(make_raster, noise):
    tile = read_all(open_scene(str(make_raster(noise(1, 9, 9)))))
    assert tile.image.shape == (3, 9, 9)
    np.testing.assert_array_equal(tile.image[0], tile.image[2])


def test_eight_bit_is_left_as_it_is(make_raster):
    path = make_raster(np.full((3, 8, 8), 100, "uint8"))
    scene = open_scene(str(path))
    assert scene.radiometry.source == "8-bit"
    np.testing.assert_allclose(read_all(scene).image, 100 / 255)


def test_sixteen_bit_takes_percentiles_of_valid_pixels(make_raster, noise):
    raw = noise(3, 200, 200, dtype="uint16", high=4000)
    raw[:, :20] = 65535
    scene = open_scene(str(make_raster(raw, nodata=65535)))
    expected = np.percentile(raw[:, 20:].reshape(3, -1), [2, 98], axis=1).T
    np.testing.assert_allclose(scene.radiometry.ranges, expected)
    assert scene.radiometry.source == "percentiles 2-98 of the scene"


def test_radiometry_of_a_large_scene_is_sampled(make_raster):
    side = 5 * SAMPLE_SIDE_PX
    gradient = np.broadcast_to(np.linspace(0, 10_000, side, dtype="uint16"), (1, side, side))
    path = make_raster(gradient, tiled=True, compress="deflate")
    scene = open_scene(str(path))
    assert scene.radiometry.source == "percentiles 2-98 of 64 windows"
    low, high = scene.radiometry.ranges[0]
    assert low < 400 and high > 9_600
    with_overviews = make_raster(gradient, "o.tif", tiled=True, compress="deflate", overviews=(2, 4, 8))
    assert open_scene(str(with_overviews)).radiometry.source == "percentiles 2-98 of a decimated read"


def test_the_same_ground_looks_the_same_in_every_window(make_raster, noise):
    scene = open_scene(str(make_raster(noise(3, 60, 60, dtype="uint16", high=9000))))
    left = scene.read(Box(0, 0, 40, 40), height_px=40, width_px=40).image[:, 20:, 20:]
    right = scene.read(Box(20, 20, 40, 40), height_px=40, width_px=40).image[:, :20, :20]
    np.testing.assert_array_equal(left, right)


def test_given_ranges(make_raster):
    path = make_raster(np.full((3, 4, 4), 500, "uint16"))
    assert np.allclose(read_all(open_scene(str(path), value_ranges=[(0, 1000)])).image, 0.5)
    scene = open_scene(str(path), value_ranges=[(0, 1000), (250, 750), (500, 1000)])
    np.testing.assert_allclose(read_all(scene).image[:, 0, 0], [0.5, 0.5, 0.0])
    with pytest.raises(OptionError, match="--range gives 2 ranges for 3 bands"):
        open_scene(str(path), value_ranges=[(0, 1), (0, 1)])


def test_constant_band_does_not_divide_by_zero(make_raster):
    assert np.isfinite(read_all(open_scene(str(make_raster(np.full((1, 5, 5), 7, "int16"))))).image).all()


def test_nodata_mask_alpha_and_nan_are_invalid(make_raster, noise):
    half = np.zeros((10, 10), bool)
    half[:5] = True
    data = noise(3, 10, 10, high=200) + np.uint8(1)
    with_nan = np.where(half, data, np.nan).astype("float32")
    alpha = np.concatenate([data, half[None].astype("uint8") * 255])
    colours = [ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha]
    paths = [
        make_raster(np.where(half, data, 0), "nodata.tif", nodata=0),
        make_raster(data, "mask.tif", mask=half),
        make_raster(alpha, "alpha.tif", colours=colours),
        make_raster(with_nan, "nan.tif"),
        make_raster(with_nan, "nodata_nan.tif", nodata=math.nan),
    ]
    for path in paths:
        tile = read_all(open_scene(str(path)))
        np.testing.assert_array_equal(tile.valid, half, err_msg=str(path))
        assert np.isfinite(tile.image).all()
        mean = tile.image[:, half].mean(axis=1)[:, None].repeat(50, 1)
        rounding = 0.5 / 255 if path.name in ("nodata.tif", "mask.tif", "alpha.tif") else 0  # bytes stay bytes
        np.testing.assert_allclose(tile.image[:, ~half], mean, rtol=1e-5, atol=rounding)


def test_a_dark_pixel_is_not_nodata_while_another_band_is_valid(make_raster):
    data = np.full((3, 4, 4), 9, "uint8")
    data[0] = 0
    assert read_all(open_scene(str(make_raster(data, nodata=0)))).valid.all()


def test_window_past_the_end_is_padded_as_invalid(make_raster, noise):
    scene = open_scene(str(make_raster(noise(3, 6, 8))))
    tile = scene.read(Box(0, 0, 12, 16), height_px=24, width_px=32)
    assert tile.image.shape == (3, 24, 32)
    assert tile.valid[:12, :16].all() and tile.valid.sum() == 12 * 16
    assert tile.valid_fraction == 0.25


def test_gsd_of_degrees_is_in_metres(make_raster, noise):
    path = make_raster(noise(3, 100, 100), crs="EPSG:4326", transform=from_origin(10, 60, 1e-4, 1e-4))
    gsd = open_scene(str(path)).gsd
    geod = Geod(ellps="WGS84")
    assert gsd.col_m == pytest.approx(geod.inv(10, 59.995, 10.0001, 59.995)[2], rel=1e-3)
    assert gsd.row_m == pytest.approx(geod.inv(10, 59.995, 10, 59.9951)[2], rel=1e-3)
    assert gsd.row_m / gsd.col_m == pytest.approx(2, rel=0.01)


def test_gsd_of_web_mercator_is_on_the_ground(make_raster, noise):
    x, y = 1_113_194.9, 8_399_737.9  # 10 E, 60 N
    path = make_raster(noise(3, 10, 10), crs="EPSG:3857", transform=from_origin(x, y, 2, 2))
    assert open_scene(str(path)).gsd.mean_m == pytest.approx(1.0, rel=0.01)


def test_gsd_of_a_local_crs_falls_back_on_its_unit(make_raster, noise):
    local = 'ENGCRS["site",EDATUM["x"],CS[Cartesian,2],AXIS["e",east],AXIS["n",north],LENGTHUNIT["foot",0.3048]]'
    path = make_raster(noise(3, 10, 10), res=(2.0, 2.0))
    assert open_scene(str(path), crs=local).gsd.mean_m == pytest.approx(0.6096)


def test_given_gsd_wins(make_raster, noise):
    assert open_scene(str(make_raster(noise(3, 4, 4))), gsd_m=0.3).gsd.mean_m == pytest.approx(0.3)


def test_scene_pickles_and_reads_in_threads(make_raster, noise):
    scene = pickle.loads(pickle.dumps(open_scene(str(make_raster(noise(3, 64, 64))))))
    boxes = [Box(r, c, 16, 16) for r in range(0, 64, 16) for c in range(0, 64, 16)]
    with ThreadPoolExecutor(4) as pool:
        parallel = list(pool.map(lambda b: scene.read(b, height_px=16, width_px=16).image, boxes))
    for box, image in zip(boxes, parallel, strict=True):
        np.testing.assert_array_equal(image, scene.read(box, height_px=16, width_px=16).image)


def test_vrt_and_vsizip(make_raster, noise, tmp_path):
    import zipfile

    path = make_raster(noise(3, 20, 20))
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as z:
        z.write(path, "scene.tif")
    vrt = tmp_path / "scene.vrt"
    rasterio.shutil.copy(path, vrt, driver="VRT")
    plain = read_all(open_scene(str(path))).image
    for other in (str(vrt), f"/vsizip/{tmp_path}/z.zip/scene.tif"):
        np.testing.assert_array_equal(read_all(open_scene(other)).image, plain)


def test_jpeg2000(make_raster, noise, tmp_path):
    path = make_raster(noise(3, 64, 64))
    jp2 = tmp_path / "scene.jp2"
    rasterio.shutil.copy(path, jp2, driver="JP2OpenJPEG", QUALITY="100", REVERSIBLE="YES")
    np.testing.assert_array_equal(read_all(open_scene(str(jp2))).image, read_all(open_scene(str(path))).image)


def test_crs_can_be_given(make_raster, noise):
    path = str(make_raster(noise(3, 8, 8), crs=None))
    with pytest.raises(SceneError, match=r"has no CRS; give it with --crs EPSG:"):
        open_scene(path)
    assert open_scene(path, crs="EPSG:25832").crs.to_epsg() == 25832
    with pytest.raises(OptionError, match='--crs "EPSG:0" is no CRS that PROJ knows'):
        open_scene(path, crs="EPSG:0")


def test_south_up_scene_keeps_its_rows(make_raster, noise):
    raw = noise(3, 12, 12)
    path = make_raster(raw, transform=Affine(1, 0, 500_000, 0, 1, 5_300_000))
    np.testing.assert_array_equal(np.round(read_all(open_scene(str(path))).image * 255), raw)


@pytest.mark.parametrize(
    ("profile", "message"),
    [
        ({"transform": Affine(1, 0.2, 5e5, 0.2, -1, 5e6)}, r"is rotated; make it north-up first: gdalwarp"),
        ({"transform": None}, r"has no geotransform"),
        ({"dtype": "complex64"}, r"holds complex numbers; make an amplitude image first"),
    ],
)
def test_scenes_that_cannot_be_mapped(make_raster, noise, profile, message):
    with pytest.raises(SceneError, match=message):
        open_scene(str(make_raster(noise(3, 8, 8), **profile)))


def test_palette_is_refused(make_raster, noise):
    path = make_raster(noise(1, 8, 8), colours=[ColorInterp.palette])
    with pytest.raises(SceneError, match=r"palette numbers, not colours; expand it first: gdal_translate -expand rgb"):
        open_scene(str(path))


@pytest.mark.parametrize(
    ("bands", "message"),
    [((1, 2, 9), r"has no band 9: it has bands 1 to 3"), ((0,), r"has no band 0"), ((1, 2), r"--bands names 2 bands")],
)
def test_bad_bands(make_raster, noise, bands, message):
    with pytest.raises(SceneError, match=message):
        open_scene(str(make_raster(noise(3, 8, 8))), bands=bands)


def test_missing_and_not_a_raster(tmp_path):
    text = tmp_path / "a.txt"
    text.write_text("not a raster")
    for path in (tmp_path / "missing.tif", text):
        with pytest.raises(SceneError, match=rf"cannot open {path} as a raster"):
            open_scene(str(path))


def test_truncated_file_says_which_window(make_raster, noise):
    path = make_raster(noise(3, 256, 256), tiled=True, blockxsize=64, blockysize=64)
    scene = open_scene(str(path))
    path.write_bytes(path.read_bytes()[:60_000])
    with pytest.raises(SceneError, match=r"cannot read Box\(row_px=192.*scene.tif"):
        scene.read(Box(192, 192, 64, 64), height_px=64, width_px=64)


@pytest.fixture
def web_server(tmp_path):
    """Serve the test's folder on the loopback interface; gives `host:port`."""
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


def test_http(make_raster, noise, web_server):
    path = make_raster(noise(3, 20, 20))
    image = read_all(open_scene(f"http://{web_server}/scene.tif")).image
    np.testing.assert_array_equal(image, read_all(open_scene(str(path))).image)


def test_s3(make_raster, noise, web_server, tmp_path):
    """A bucket in path style, in a process of its own: GDAL keeps S3 settings for as long as it lives."""
    path = make_raster(noise(3, 20, 20))
    (tmp_path / "bucket").mkdir()
    path.rename(tmp_path / "bucket" / "scene.tif")
    bucket = {"AWS_S3_ENDPOINT": web_server, "AWS_HTTPS": "NO", "AWS_VIRTUAL_HOSTING": "FALSE"}
    code = "from rszsl.scene.reader import open_scene; print(open_scene('s3://bucket/scene.tif').width_px)"
    env = os.environ | bucket | {"AWS_NO_SIGN_REQUEST": "YES"}
    run = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=60)
    assert run.stdout.strip() == "20", run.stderr


def test_sidecar_files_are_found(noise, tmp_path):
    """A JPEG has its place in a world file beside it."""
    from PIL import Image

    Image.fromarray(noise(40, 50, 3)).save(tmp_path / "photo.jpg")
    (tmp_path / "photo.jgw").write_text("0.5\n0\n0\n-0.5\n500000.25\n5299999.75\n")
    scene = open_scene(str(tmp_path / "photo.jpg"), crs="EPSG:32632")
    assert (scene.transform.a, scene.transform.c) == (0.5, 500_000)


def test_a_huge_scene_is_never_read_whole(tmp_path):
    """400 GB of pixels in a sparse file: opening and one tile take a moment and little memory."""
    path = tmp_path / "huge.tif"
    size = {"width": 365_000, "height": 365_000, "count": 3, "dtype": "uint8"}
    layout = {"tiled": True, "sparse_ok": True, "bigtiff": True, "blockxsize": 1024, "blockysize": 1024}
    with rasterio.open(
        path, "w", driver="GTiff", crs="EPSG:32632", transform=from_origin(0, 0, 0.1, 0.1), **size, **layout
    ):
        pass
    tile = open_scene(str(path)).read(Box(200_000, 300_000, 2000, 2000), height_px=160, width_px=160)
    assert tile.image.shape == (3, 160, 160)
