import warnings

import numpy as np
import pytest
import rasterio
import shapely
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio.transform import Affine
from torch.utils.data import DataLoader
from torchgeo.datasets import stack_samples

from rszsl import SceneDataset, SceneError, TileSampler
from rszsl.tiling import load_tiles

quiet = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)


@quiet
@given(
    st.integers(1, 200), st.integers(1, 160), st.integers(8, 70), st.floats(0, 0.9), st.sampled_from([0.1, 1.0, 2.5e-5])
)
def test_tiles_equal_plain_rasterio_pixel_for_pixel(make_raster, noise, height, width, size, overlap, res):
    raw = noise(3, height, width)
    path = make_raster(raw, transform=Affine(res, 0, 431_234.5678, 0, -res, 5_276_543.21))
    dataset = SceneDataset(path)
    sampler = TileSampler(dataset, size_px=size, overlap=overlap)
    kept = np.zeros((height, width), int)
    with rasterio.open(path) as source:
        for tile_id, query in zip(sampler.tile_ids, sampler, strict=True):
            sample = dataset[query]
            row, col, n_rows, n_cols = sample["window"].tolist()
            plain = source.read(window=((row, min(row + n_rows, height)), (col, min(col + n_cols, width))))
            got = np.round(sample["image"].numpy() * 255).astype("uint8")
            np.testing.assert_array_equal(got[:, : plain.shape[1], : plain.shape[2]], plain)
            assert sample["valid"].sum() == plain[0].size
            cell = sampler.grid[int(tile_id)].cell
            kept[cell.row_px : cell.end_row_px, cell.col_px : cell.end_col_px] += 1
    assert (kept == 1).all()


def test_queries_keep_the_torchgeo_convention(make_raster, noise):
    dataset = SceneDataset(make_raster(noise(3, 100, 80), res=(0.5, 0.5)))
    x, y, _ = dataset.bounds
    assert (x.start, x.stop, x.step) == (500_000, 500_040, 0.5)
    assert (y.start, y.stop, y.step) == (5_299_950, 5_300_000, 0.5)
    quarter = dataset[500_000:500_010:1.0, 5_299_990:5_300_000:1.0]
    assert quarter["image"].shape == (3, 10, 10)
    assert quarter["window"].tolist() == [0, 0, 20, 20]
    assert dataset[500_000:500_010]["window"].tolist() == [0, 0, 100, 20]
    assert len(dataset) == 1 and dataset.crs.to_epsg() == 32632


def test_query_outside_is_an_index_error(make_raster, noise):
    dataset = SceneDataset(make_raster(noise(3, 10, 10)))
    with pytest.raises(IndexError, match="not found in index with bounds"):
        dataset[0:10, 0:10]


@pytest.mark.parametrize("collate", [None, stack_samples])
@pytest.mark.parametrize("workers", [0, 2])
def test_plain_data_loader(make_raster, noise, collate, workers):
    dataset = SceneDataset(make_raster(noise(3, 100, 70)))
    sampler = TileSampler(dataset, size_px=32, out_px=16)
    loader = DataLoader(dataset, sampler=sampler, batch_size=5, collate_fn=collate, num_workers=workers)
    batches = list(loader)
    assert sum(len(b["image"]) for b in batches) == len(sampler) == 12
    assert batches[0]["image"].shape == (5, 3, 16, 16) and batches[0]["image"].dtype == torch.float32
    windows = torch.cat([b["window"] for b in batches])
    assert windows[:, 0].unique().tolist() == [0, 32, 64, 68]


def test_sampler_sits_in_a_torchgeo_intersection(make_raster, noise):
    a, b = (SceneDataset(make_raster(noise(3, 40, 40), f"{n}.tif")) for n in "ab")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        both = a & b
    assert len(both) == 1


@pytest.mark.parametrize("size", [100, (64, 300)])
def test_a_scene_smaller_than_a_tile_gives_one(make_raster, noise, size):
    dataset = SceneDataset(make_raster(noise(3, 20, 30)))
    sampler = TileSampler(dataset, size_px=size, overlap=0.5)
    (query,) = list(sampler)
    sample = dataset[query]
    assert sample["valid"].sum() == 20 * 30
    assert float(sample["image"].min()) >= 0 and float(sample["image"].max()) <= 1


def test_roi_keeps_cells_that_share_area(make_raster, noise):
    dataset = SceneDataset(make_raster(noise(3, 40, 40)))
    corner = shapely.box(500_000, 5_299_990, 500_010, 5_300_000)
    assert TileSampler(dataset, size_px=10, roi=corner).tile_ids.tolist() == [0]
    assert TileSampler(dataset, size_px=10, roi=corner.buffer(0.001)).tile_ids.tolist() == [0, 1, 4, 5]
    assert len(TileSampler(dataset, size_px=10, roi=shapely.box(0, 0, 1, 1))) == 0


def test_transforms_are_applied(make_raster, noise):
    dataset = SceneDataset(make_raster(noise(3, 8, 8)), transforms=lambda s: s | {"image": s["image"] * 0})
    assert dataset[500_000:500_008]["image"].abs().sum() == 0


def test_nan_never_reaches_a_sample(make_raster):
    data = np.random.default_rng(0).random((3, 30, 30)).astype("float32")
    data[:, 10:20, 10:20] = np.nan
    dataset = SceneDataset(make_raster(data))
    for query in TileSampler(dataset, size_px=15):
        assert torch.isfinite(dataset[query]["image"]).all()


@pytest.mark.parametrize("batch_size", [1, 4, 100])
@pytest.mark.parametrize("threads", [1, 3])
def test_loader_gives_every_tile_once_in_order(make_raster, noise, batch_size, threads):
    dataset = SceneDataset(make_raster(noise(3, 50, 70)))
    sampler = TileSampler(dataset, size_px=16)
    batches = list(load_tiles(dataset, sampler, batch_size=batch_size, threads=threads))
    np.testing.assert_array_equal(np.concatenate([b.tile_ids for b in batches]), sampler.tile_ids)
    first = dataset[next(iter(sampler))]["image"].numpy()
    np.testing.assert_array_equal(batches[0].images[0], np.round(first * 255))


def test_loader_names_the_tiles_that_fail(make_raster, noise):
    path = make_raster(noise(3, 256, 256), tiled=True, blockxsize=64, blockysize=64)
    dataset = SceneDataset(path)
    path.write_bytes(path.read_bytes()[:100_000])
    batches = list(load_tiles(dataset, TileSampler(dataset, size_px=64), batch_size=8))
    failures = [f for b in batches for f in b.failures]
    assert len(failures) == 16 and failures[0] is None
    assert any(f and "cannot read Box" in f for f in failures)


def test_loader_stops_when_its_consumer_does(make_raster, noise):
    dataset = SceneDataset(make_raster(noise(3, 200, 200)))
    tiles = load_tiles(dataset, TileSampler(dataset, size_px=8), batch_size=1)
    next(tiles)
    tiles.close()


def test_dataset_takes_bands_and_refuses_bad_files(make_raster, noise, tmp_path):
    path = make_raster(noise(4, 8, 8))
    np.testing.assert_array_equal(
        SceneDataset(path, bands=(4, 4, 4))[500_000:500_008]["image"][0],
        SceneDataset(path, bands=(1, 2, 4))[500_000:500_008]["image"][2],
    )
    with pytest.raises(SceneError, match="cannot open"):
        SceneDataset(tmp_path / "missing.tif")
