"""`map` against its model alone and a plain torchgeo loop (map.json); its memory and time by size (map_size.json).

    python tests/benchmarks/bench_map.py [speeds] [sizes] [--quick] [--size 20000] [--sizes 10000,20000,40000]

Scenes are generated once into a folder for temporary files: textured, 1.5 m a pixel, cloud-optimised GeoTIFF.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import rasterio
import torch
from bench_scale import peak_mib
from rasterio.shutil import copy
from rasterio.transform import from_origin
from rasterio.windows import Window
from record import write_record

import rszsl
from rszsl.classes import as_classes
from rszsl.model.threads import model_threads
from rszsl.pipeline.fitting import FittingEncoder
from rszsl.pipeline.plan import plan_scene
from rszsl.tiling import load_tiles

CLASSES = "forest,river,farmland,industrial area,residential area"
GSD_M, SEED, BATCH, WORKERS = 1.5, 20261, 32, 2
FOLDER = Path(tempfile.gettempdir()) / "rszsl-benchmarks"
STRIP_PX = 1000
WHOLE, PARTED = "model, a batch at a time", "model, a step a thread"
"""One forward with all of torch's threads, or one thread each for as many forwards; the faster one is the measure."""


def main():
    options = argparse.ArgumentParser()
    options.add_argument("parts", nargs="*", choices=("speeds", "sizes", []), help="default: both")
    options.add_argument("--quick", action="store_true", help="a small scene, one repeat, nothing recorded")
    options.add_argument("--size", type=int, default=20_000, help="side in pixels of the scene for the speeds")
    options.add_argument("--sizes", default="10000,20000,40000", help="sides of the scenes for memory and time by size")
    options.add_argument("--model-tiles", type=int, default=4096, help="tiles that the model alone sees")
    options.add_argument("--repeats", type=int, default=3, help="of the speeds")
    options.add_argument("--size-repeats", type=int, default=1, help="of memory and time by size")
    options.add_argument("--alone", nargs=2, metavar=("SCENE", "OUTPUT"), help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.alone:
        print(json.dumps(map_alone(*given.alone)))
        return
    if given.quick:
        given.size, given.sizes, given.model_tiles, given.repeats = 1600, "1600,3200", 64, 1
    for part in given.parts or ("speeds", "sizes"):
        if part == "speeds":
            name, what = "map", what_of(given)
            figures = {kind: speeds(make_scene(given.size, kind), given) for kind in ("deflate", "jpeg")}
        else:
            name, what = (
                "map_size",
                f"medians of {given.size_repeats} runs, each in a process of its own, whose peak it is",
            )
            figures = by_size([int(side) for side in given.sizes.split(",")], given.size_repeats)
        if given.quick:
            print(json.dumps(figures, indent=1))
            continue
        write_record(name, figures, seed=SEED, what=what, libraries=libraries())


def libraries():
    return {"torch threads": torch.get_num_threads(), "gdal": rasterio.__gdal_version__} | {
        name: version(name) for name in ("torch", "onnxruntime", "torchgeo", "rasterio")
    }


def what_of(given):
    return (
        f"medians of {given.repeats} turns; scenes of {given.size} px a side at {GSD_M} m, batch {BATCH}, "
        f"fp32 by ONNX Runtime; the model alone on {given.model_tiles} tiles in memory, the faster of both ways; "
        f"torchgeo: RasterDataset, GridGeoSampler and a DataLoader of {WORKERS} workers before the same model, without "
        "any output"
    )


def make_scene(side, kind):
    """A COG of smooth fields with texture: uint8, three bands, `kind` deflate or jpeg."""
    path = FOLDER / f"map-{kind}-{side}.tif"
    if path.exists():
        return path
    FOLDER.mkdir(parents=True, exist_ok=True)
    plain, part = FOLDER / f"map-plain-{side}.tif", path.with_suffix(".part.tif")
    place = from_origin(500_000, 5_300_000, GSD_M, GSD_M)
    profile = {"count": 3, "height": side, "width": side, "dtype": "uint8", "crs": "EPSG:32632", "transform": place}
    rng = np.random.default_rng(SEED)
    with rasterio.open(plain, "w", driver="GTiff", tiled=True, bigtiff="yes", photometric="rgb", **profile) as sink:
        for top in range(0, side, STRIP_PX):
            rows = min(STRIP_PX, side - top)
            sink.write(texture(rng, rows, side), window=Window(0, top, side, rows))
    how = {"compress": "DEFLATE", "predictor": "YES"} if kind == "deflate" else {"compress": "JPEG", "quality": 85}
    copy(plain, part, driver="COG", blocksize=512, bigtiff="yes", num_threads=2, **how)
    plain.unlink()
    return part.rename(path)


def texture(rng, rows, cols):
    """uint8 (3, rows, cols): patches of 50 px in colours of land, with grain."""
    coarse = rng.integers(40, 200, (3, -(-rows // 50), -(-cols // 50)), dtype="uint8")
    patches = coarse.repeat(50, 1).repeat(50, 2)[:, :rows, :cols]
    return patches + rng.integers(0, 40, (1, rows, cols), dtype="uint8")


def speeds(scene, given):
    """Tiles a second of the model alone in both ways, of map, and of the torchgeo loop, in turns."""
    model = rszsl.load_model("dsva-small", device="cpu")
    batches = first_batches(scene, model, given.model_tiles)
    actions = {
        WHOLE: lambda: sum(len(model.encode(batch).attributes) for batch in batches),
        PARTED: lambda: in_threads(model, batches),
        "map": lambda: mapped(scene, model),
        "torchgeo": lambda: torchgeo_loop(scene, model),
    }
    for way in (WHOLE, PARTED):  # the first one makes plans, and fills caches
        actions[way]()
    spent = {name: [] for name in actions}
    for _ in range(given.repeats):
        for name, action in actions.items():
            spent[name].append(rate(action))
    medians = {name: float(np.median(values)) for name, values in spent.items()}
    faster = max((WHOLE, PARTED), key=medians.get)
    return {f"{name}, tiles/s": round(value, 1) for name, value in medians.items()} | {
        "model": faster,
        "map / model": round(medians["map"] / medians[faster], 3),
        "map / torchgeo": round(medians["map"] / medians["torchgeo"], 3),
    }


def in_threads(model, batches):
    """The model alone, as `map` runs it on a CPU."""
    with model_threads(model.device) as threads:
        encoder = FittingEncoder(model, print, threads=threads)
        return sum(len(encoder.take(asked).attributes) for asked in [encoder.ask(batch) for batch in batches])


def rate(work):
    """Tiles a second of work that gives how many tiles it saw."""
    start_s = time.perf_counter()
    tiles = work()
    return tiles / (time.perf_counter() - start_s)


def first_batches(scene, model, tiles):
    """Pixels of the first tiles, in memory."""
    plan = plan_scene(str(scene), model.card, rszsl.MapOptions())
    sampler = plan.sampler.only(plan.sampler.tile_ids[:tiles])
    return [batch.images for batch in load_tiles(plan.dataset, sampler, batch_size=BATCH)]


def mapped(scene, model):
    with tempfile.TemporaryDirectory() as folder:
        result = rszsl.map_scene(scene, CLASSES, model=model, output=Path(folder) / "map.gpkg", batch_size=BATCH)
    return result.counts.planned


def torchgeo_loop(scene, model):
    """What a user would write; labels only, nothing is written."""
    from torch.utils.data import DataLoader
    from torchgeo.datasets import RasterDataset, stack_samples
    from torchgeo.samplers import GridGeoSampler

    side = model.card.input_px
    dataset = RasterDataset(str(scene))
    sampler = GridGeoSampler(dataset, size=side, stride=side)
    rows = model.class_rows(as_classes(CLASSES)).rows
    loader = DataLoader(dataset, BATCH, sampler=sampler, num_workers=WORKERS, collate_fn=stack_samples)
    labels = [(model.encode((b["image"] / 255).numpy()).attributes @ rows.T).argmax(1) for b in loader]
    return sum(len(part) for part in labels)


def by_size(sides, repeats):
    """Peak memory and time a pixel of `map` in a process of its own, against the smallest scene."""
    scenes = {side: make_scene(side, "deflate") for side in sides}
    found = {side: [] for side in sides}
    for _ in range(repeats):
        for side, scene in scenes.items():
            found[side].append(run_alone(scene))
    figures = {}
    for side, runs in found.items():
        peak = float(np.median([run["peak_mb"] for run in runs]))
        spent = float(np.median([run["seconds"] for run in runs]))
        figures[side] = {"peak, MB": round(peak), "ns a pixel": round(1e9 * spent / side**2, 2)}
    first = figures[min(sides)]
    for row in figures.values():
        row["peak, of the smallest"] = round(row["peak, MB"] / first["peak, MB"], 3)
        row["ns a pixel, of the smallest"] = round(row["ns a pixel"] / first["ns a pixel"], 3)
    return {f"{side} px": row for side, row in figures.items()}


def run_alone(scene):
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--alone", str(scene), str(Path(folder) / "map.gpkg")]
        run = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(run.stdout.splitlines()[-1])


def map_alone(scene, output):
    result = rszsl.map_scene(scene, CLASSES, output=output, device="cpu", batch_size=BATCH)
    return {"seconds": result.seconds, "peak_mb": peak_mib()}


if __name__ == "__main__":
    main()
