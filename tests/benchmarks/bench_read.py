"""Reading: our loader and dataset against torchgeo's and plain rasterio: docs/benchmarks/read.json.

python tests/benchmarks/bench_read.py [--size 10000] [--repeats 5] [--only loader,dataset,overlap]
"""

import argparse
import statistics
import sys
import tempfile
import threading
import time
import warnings
from importlib.metadata import version
from pathlib import Path

import numpy as np
import rasterio
import rasterio.shutil
import torch
from rasterio.transform import from_origin
from rasterio.windows import Window
from record import write_record
from torch.utils.data import DataLoader
from torchgeo.datasets import RasterDataset, stack_samples
from torchgeo.samplers import GridGeoSampler

from rszsl import SceneDataset, TileSampler
from rszsl.scene.reader import Scene
from rszsl.tiling import load_tiles

SEED = 20266
TILE_PX, WINDOW_PX, BATCH = 160, 256, 32
ITEM_SIDE_PX = 4000
COGS = {"deflate": {"COMPRESS": "DEFLATE"}, "jpeg": {"COMPRESS": "JPEG", "QUALITY": "85"}}


def paint(path, side_px, **profile):
    """A textured scene of three bands: waves of several lengths, and grain."""
    rng = np.random.default_rng(SEED)
    settings = {"driver": "GTiff", "count": 3, "dtype": "uint8", "crs": "EPSG:32632", "tiled": True}
    place = {"height": side_px, "width": side_px, "transform": from_origin(500_000, 5_300_000, 1, 1)}
    col = np.arange(side_px, dtype="float32")
    with rasterio.open(path, "w", **settings, **place, **profile) as sink:
        for row0 in range(0, side_px, 512):
            row = np.arange(row0, min(row0 + 512, side_px), dtype="float32")[:, None]
            waves = 120 + 40 * np.sin(row / 37) * np.cos(col / 53) + 30 * np.sin((row + col) / 211)
            grain = rng.integers(-6, 7, (3, len(row), side_px), dtype="int8")
            sink.write(np.clip(waves + grain, 0, 255).astype("uint8"), window=Window(0, row0, side_px, len(row)))
    return path


def cog(folder, name, side_px):
    """A cloud-optimised scene, made once for a folder."""
    path = folder / f"{name}_{side_px}.tif"
    if not path.exists():
        plain = paint(folder / "plain.tif", side_px, compress="deflate", zlevel=1)
        rasterio.shutil.copy(plain, path, driver="COG", BLOCKSIZE="512", NUM_THREADS="ALL_CPUS", **COGS[name])
        plain.unlink()
    return path


def seconds(action):
    start = time.perf_counter()
    count = action()
    return (time.perf_counter() - start) / count


def medians(repeats, **actions):
    """Median seconds a piece of each action, which gives its number of pieces; interleaved, each on fresh handles."""
    times = {name: [] for name in actions}
    for _ in range(repeats):
        for name, action in actions.items():
            times[name].append(seconds(action))
    return {name: statistics.median(found) for name, found in times.items()}


def ours(path, overlap=0.0):
    dataset = SceneDataset(path)
    sampler = TileSampler(dataset, size_px=TILE_PX, overlap=overlap)
    return sum(len(batch.tile_ids) for batch in load_tiles(dataset, sampler, batch_size=BATCH))


def torchgeo_loader(path):
    dataset = RasterDataset(str(path))
    sampler = GridGeoSampler(dataset, size=TILE_PX, stride=TILE_PX)
    loader = DataLoader(dataset, BATCH, sampler=sampler, num_workers=2, collate_fn=stack_samples)
    return sum(len(batch["image"]) for batch in loader)


def plain_windows(path):
    """One thread, one window a tile."""
    grid = TileSampler(SceneDataset(path), size_px=TILE_PX).grid
    with rasterio.open(path) as source:
        for tile in grid:
            source.read(window=Window(tile.window.col_px, tile.window.row_px, TILE_PX, TILE_PX))
    return len(grid)


def block_rows(path):
    """One thread, rows of whole blocks: what decoding costs; counted in tiles."""
    with rasterio.open(path) as source:
        step = source.block_shapes[0][0]
        for row in range(0, source.height, step):
            source.read(window=Window(0, row, source.width, min(step, source.height - row)))
        return len(TileSampler(SceneDataset(path), size_px=TILE_PX))


def loader_figures(path, repeats):
    actions = {"rszsl": ours, "torchgeo": torchgeo_loader, "plain_windows": plain_windows, "block_rows": block_rows}
    took = medians(repeats, **{name: (lambda a=action: a(path)) for name, action in actions.items()})
    rates = {f"{name}_tiles_per_s": round(1 / t) for name, t in took.items()}
    return rates | {"times_torchgeo": round(took["torchgeo"] / took["rszsl"], 2)}


def items(make, queries):
    dataset = make()
    for query in queries:
        dataset[query]
    return len(queries)


def dataset_figures(path, repeats):
    queries = list(TileSampler(SceneDataset(path), size_px=WINDOW_PX))
    took = medians(
        repeats,
        rszsl=lambda: items(lambda: SceneDataset(path), queries),
        torchgeo=lambda: items(lambda: RasterDataset(str(path)), queries),
    )
    rates = {f"{name}_items_per_s": round(1 / t) for name, t in took.items()}
    return rates | {"times_torchgeo": round(took["torchgeo"] / took["rszsl"], 2)}


class Meter:
    """Counts pixels and CPU seconds of reads."""

    def __init__(self):
        self.px, self.cpu_s, self._lock, self._read = 0, 0.0, threading.Lock(), Scene._read_raw

    def __enter__(self):
        meter = self

        def metered(scene, box, shape):
            start = time.thread_time()
            found = meter._read(scene, box, shape)
            with meter._lock:
                meter.px += box.height_px * box.width_px
                meter.cpu_s += time.thread_time() - start
            return found

        Scene._read_raw = metered
        return self

    def __exit__(self, *_):
        Scene._read_raw = self._read


def overlap_figures(path, repeats):
    found = {0.0: [], 0.5: []}
    for _ in range(repeats):
        for overlap, kept in found.items():
            with Meter() as meter:
                start = time.perf_counter()
                ours(path, overlap)
                kept.append((meter.px, meter.cpu_s, time.perf_counter() - start))
    none, half = ([statistics.median(c) for c in zip(*kept, strict=True)] for kept in found.values())
    names = ("pixels_read", "read_cpu", "wall")
    return {f"{name}_times_no_overlap": round(h / n, 3) for name, n, h in zip(names, none, half, strict=True)}


def measure(folder, args):
    figures, parts = {}, args.only.split(",")
    for name in COGS if {"loader", "overlap"} & set(parts) else ():
        path = cog(folder, name, args.size)
        if "loader" in parts:
            figures[f"loader_{name}"] = loader_figures(path, args.repeats)
        if "overlap" in parts:
            figures[f"overlap_{name}"] = overlap_figures(path, args.repeats)
    if "dataset" in parts:
        path = paint(folder / "item.tif", ITEM_SIDE_PX, compress="deflate", blockxsize=256, blockysize=256)
        figures["dataset_item"] = dataset_figures(path, args.repeats)
    return figures


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--size", type=int, default=10_000)
    options.add_argument("--repeats", type=int, default=5)
    options.add_argument("--only", default="loader,dataset,overlap")
    args = options.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        figures = measure(Path(scratch), args)
    what = (
        f"medians of {args.repeats} interleaved repeats on fresh handles, files in the page cache; loader: "
        f"{TILE_PX} px tiles of a COG of {args.size} px a side, batches of {BATCH}, torchgeo with 2 workers; item: "
        f"{WINDOW_PX} px windows in the order of a grid, {ITEM_SIDE_PX} px a side; overlap: 0.5 against 0"
    )
    libraries = {name: version(name) for name in ("rasterio", "torch", "torchgeo")} | {
        "gdal": rasterio.__gdal_version__
    }
    write_record("read", figures, seed=SEED, what=what, libraries=libraries)


if __name__ == "__main__":
    sys.exit(main())
