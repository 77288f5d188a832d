"""The demo scene is what it says: same pixels each time, a proper GeoTIFF, honest zones; the preview shows labels."""

from itertools import combinations
from pathlib import Path

import geopandas
import matplotlib.image
import numpy as np
import pytest
import rasterio
from rasterio.features import geometry_mask
from shapely import box
from shapely.geometry.base import BaseGeometry

from rszsl.demo.preview import draw_preview
from rszsl.demo.scene import CRS, DEMO_CLASSES, GSD, ORIGIN, SIZE_PX, paint_scene, write_demo_scene, zones
from rszsl.errors import OutputError, SceneError
from rszsl.output.styles import class_colours

SMALL = (384, 480)
TILE_M = 190.0


@pytest.fixture(scope="module")
def scene_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_demo_scene(tmp_path_factory.mktemp("demo") / "new folder" / "scene.tif")


@pytest.fixture(scope="module")
def true_zones() -> dict[str, BaseGeometry]:
    return zones()


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory, true_zones: dict[str, BaseGeometry]) -> Path:
    """A GeoPackage as `rszsl map` writes it, with the true zones as its regions."""
    path = tmp_path_factory.mktemp("result") / "labels.gpkg"
    frame = geopandas.GeoDataFrame(
        {
            "class": list(true_zones),
            "confidence_mean": 0.875,
            "tiles": [max(1, round(z.area / TILE_M**2)) for z in true_zones.values()],
            "area_m2": [z.area for z in true_zones.values()],
        },
        geometry=list(true_zones.values()),
        crs=CRS,
    )
    frame.to_file(path, layer="regions")
    return path


def test_same_seed_gives_the_same_pixels():
    first = paint_scene(SMALL, seed=3)
    np.testing.assert_array_equal(first, paint_scene(SMALL, seed=3))
    assert (first != paint_scene(SMALL, seed=4)).any()


@pytest.mark.parametrize("size", [SMALL, (300, 700), (64, 64)])
def test_any_size_is_painted(size):
    pixels = paint_scene(size)
    assert pixels.shape == (3, *size)
    assert pixels.dtype == np.uint8
    assert pixels.std() > 10


def test_written_scene_reads_back(scene_path):
    with rasterio.open(scene_path) as file:
        assert file.crs.to_string() == CRS
        assert file.res == (GSD, GSD)
        assert (file.bounds.left, file.bounds.top) == ORIGIN
        assert all(edge == round(edge) for edge in file.bounds)
        assert (file.count, file.height, file.width) == (3, *SIZE_PX)
        assert file.block_shapes == [(512, 512)] * 3
        assert file.compression.name == "deflate"
        assert file.overviews(1) == [2, 4, 8]


def test_nodata_is_one_corner_and_nothing_else(scene_path):
    with rasterio.open(scene_path) as file:
        assert file.nodata == 0
        pixels, mask = file.read(), file.dataset_mask()
    hidden = mask == 0
    assert 0.005 < hidden.mean() < 0.03
    assert hidden[-160:, :160].all(), "one whole tile is nodata"
    assert not hidden[:1500].any()
    assert not hidden[:, 450:].any()
    assert ((pixels == 0).all(axis=0) == (pixels == 0).any(axis=0)).all(), "0 never stands for a dark pixel"


def test_zones_are_disjoint_and_inside_the_scene(scene_path, true_zones):
    assert tuple(true_zones) == DEMO_CLASSES
    with rasterio.open(scene_path) as file:
        scene = box(*file.bounds)
    for zone in true_zones.values():
        assert zone.is_valid
        assert scene.buffer(1e-6).covers(zone)
    for (_, first), (_, second) in combinations(true_zones.items(), 2):
        assert first.intersection(second).area < 1


@pytest.mark.parametrize("name", DEMO_CLASSES)
def test_each_zone_holds_a_square_of_nine_tiles(name, true_zones):
    """Three tiles by three fit, at least nearly: the zone covers 85 % of such a square somewhere."""
    side, zone = 3 * TILE_M, true_zones[name]
    left, bottom, right, top = zone.bounds
    corners = [
        (x, y) for x in np.arange(left - 20, right - side + 40, 40) for y in np.arange(bottom - 20, top - side + 40, 40)
    ]
    best = max(zone.intersection(box(x, y, x + side, y + side)).area for x, y in corners)
    assert best > 0.85 * side**2


def test_no_zone_lies_on_nodata(scene_path, true_zones):
    with rasterio.open(scene_path) as file:
        seen = file.dataset_mask() > 0
        for zone in true_zones.values():
            inside = ~geometry_mask([zone.buffer(-2 * GSD)], seen.shape, file.transform)
            assert seen[inside].all()


def test_zones_look_different(scene_path, true_zones):
    """Colours are muted and fit their zones: water is dark and smooth, rock bright, forest dark and rough."""
    look = {}
    with rasterio.open(scene_path) as file:
        pixels = file.read().astype("float32")
        for name, zone in true_zones.items():
            inside = ~geometry_mask([zone.buffer(-5)], pixels.shape[1:], file.transform)
            values = pixels[:, inside]
            look[name] = (values.mean(), values.mean(axis=0).std(), np.ptp(values.mean(axis=1)))
    brightness = {name: row[0] for name, row in look.items()}
    assert brightness["lake"] < brightness["farmland"] < brightness["quarry"]
    assert brightness["forest"] < brightness["residential area"] < brightness["industrial area"]
    assert look["lake"][1] < look["industrial area"][1]
    assert all(row[2] < 60 for row in look.values()), "no zone is a saturated colour"


def test_unwritable_path_is_our_error(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(OutputError, match="choose a folder"):
        write_demo_scene(tmp_path / "file" / "scene.tif")


def test_preview_shows_every_class_in_its_colour(scene_path, result, tmp_path):
    png = draw_preview(scene_path, result, tmp_path / "preview.png", width_px=1000)
    picture = matplotlib.image.imread(png)[..., :3]
    assert picture.shape[1] == 1000
    assert picture.std() > 0.1
    for name, colour in class_colours(DEMO_CLASSES).items():
        wanted = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
        near = np.abs(picture - wanted).max(axis=-1) < 0.02
        middle = picture.shape[1] // 2
        assert near[: -picture.shape[0] // 6, middle:].sum() > 100, f"the outline of {name}"
        assert near[-picture.shape[0] // 6 :].sum() > 50, f"the legend of {name}"


def test_preview_leaves_the_scene_panel_clean(scene_path, result, tmp_path):
    png = draw_preview(scene_path, result, tmp_path / "preview.png", width_px=800)
    picture = matplotlib.image.imread(png)[..., :3]
    left, right = picture[60:300, 20:380], picture[60:300, 420:780]
    assert np.abs(left - right).mean() > 0.05


def test_preview_of_missing_files_is_our_error(scene_path, result, tmp_path):
    with pytest.raises(SceneError):
        draw_preview(tmp_path / "none.tif", result, tmp_path / "a.png")
    with pytest.raises(OutputError):
        draw_preview(scene_path, tmp_path / "none.gpkg", tmp_path / "a.png")
