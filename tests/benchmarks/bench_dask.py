"""What a cluster costs and gives, with the bundled model, single-threaded, on a quiet machine:

    OMP_NUM_THREADS=1 PYTHONPATH=tests python tests/benchmarks/bench_dask.py

Writes JSON: seconds in process, over Dask with one worker and with two (each the best of `--repeats`), overhead and
speed-up, bytes a tile, tasks a second for empty units, and what the writer takes a scene and a tile.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import rasterio
from clusters import Cluster
from rasterio.transform import from_origin

import rszsl
from rszsl.batch.checkpoint import checkpoint_of
from rszsl.batch.exchange import pack
from rszsl.batch.worker import model_of
from rszsl.classes import as_classes
from rszsl.options import MapOptions
from rszsl.pipeline import label_batches, plan_scene, write_map
from rszsl.pipeline.encoding import encode_tiles
from rszsl.pipeline.labelling import Clock
from rszsl.pipeline.mapping import make_job
from rszsl.progress import Silent

CLASSES = "forest,farmland,river,quarry"
TILE_PX = 160


def write_scenes(folder: Path, scenes: int, rows: int, cols: int) -> list[Path]:
    """Noise of 1.5 m pixels: the model does not care what it sees."""
    rng = np.random.default_rng(0)
    paths = []
    for i in range(scenes):
        image = rng.integers(0, 256, (3, rows * TILE_PX, cols * TILE_PX), dtype="uint8")
        profile = {"count": 3, "height": image.shape[1], "width": image.shape[2], "dtype": "uint8"}
        place = from_origin(500_000, 5_300_000, 1.5, 1.5)
        path = folder / f"s{i:03d}.tif"
        with rasterio.open(path, "w", driver="GTiff", crs="EPSG:32632", transform=place, tiled=True, **profile) as sink:
            sink.write(image)
        paths.append(path)
    return paths


def seconds_of(scenes: list[Path], out: Path, client=None) -> float:
    """One batch from the call to the last file."""
    start_s = time.perf_counter()
    result = rszsl.map_scenes(scenes, CLASSES, out=out, client=client, device="cpu")
    assert result.clean
    return time.perf_counter() - start_s


def warm(client) -> None:
    """Load the model on every worker, outside the measurement."""
    source = checkpoint_of(MapOptions().model)
    client.run(lambda: bool(model_of(source, "cpu")))


def compare(folder: Path, scenes: list[Path], repeats: int) -> dict[str, float]:
    """In process, one worker, two workers, in turn, so that a busy moment meets all of them."""
    import torch

    torch.set_num_threads(1)
    best = {"in_process_s": np.inf, "one_worker_s": np.inf, "two_workers_s": np.inf}
    seconds_of(scenes[:1], folder / "warm")
    with Cluster(workers=1) as one, Cluster(workers=2) as two, one.client(1) as first, two.client(2) as second:
        warm(first)
        warm(second)
        for turn in range(repeats):
            for name, client in (("in_process_s", None), ("one_worker_s", first), ("two_workers_s", second)):
                best[name] = min(best[name], seconds_of(scenes, folder / f"{name}{turn}", client))
        tasks_per_s = rate_of_tasks(first)
    return {k: round(v, 3) for k, v in best.items()} | {
        "overhead_of_dask": round(best["one_worker_s"] / best["in_process_s"] - 1, 4),
        "speed_up_of_two": round(best["one_worker_s"] / best["two_workers_s"], 3),
        "tasks_per_s": round(tasks_per_s),
    }


def rate_of_tasks(client, tasks: int = 500) -> float:
    """Empty tasks a second through one worker thread, result fetched one by one as the batch does."""
    start_s = time.perf_counter()
    for future in [client.submit(str, i, pure=False) for i in range(tasks)]:
        future.result()
    return tasks / (time.perf_counter() - start_s)


def writer(folder: Path, scene: Path) -> dict[str, float]:
    """Bytes a tile, and the writer's seconds for a small scene and for each tile of a large one."""
    options = MapOptions(device="cpu", overlap=0.9)
    model = model_of(checkpoint_of(options.model), "cpu")
    plan = plan_scene(str(scene), model.card, options)
    job = make_job(model, as_classes(CLASSES), folder / "w.gpkg", options)
    labels = label_batches(encode_tiles(plan, model, options), plan.sampler.tile_ids, model, job, Silent())
    start_s = time.perf_counter()
    write_map(plan.footing, labels, model, job, Clock())
    many_s = time.perf_counter() - start_s
    small = plan_scene(str(scene), model.card, MapOptions(device="cpu"))
    few = label_batches(encode_tiles(small, model, options), small.sampler.tile_ids, model, job, Silent())
    start_s = time.perf_counter()
    write_map(small.footing, few, model, job, Clock())
    few_s = time.perf_counter() - start_s
    n, k = len(labels.tile_ids), len(few.tile_ids)
    per_tile_s = (many_s - few_s) / (n - k)
    return {
        "bytes_a_tile": round(len(pack(labels)) / n, 1),
        "writer_s_a_scene": round(few_s - k * per_tile_s, 4),
        "writer_us_a_tile": round(per_tile_s * 1e6, 1),
    }


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks/dask.json"))
    parser.add_argument("--scenes", type=int, default=8)
    parser.add_argument("--rows", type=int, default=16, help="Tile rows of a scene.")
    parser.add_argument("--cols", type=int, default=16, help="Tile columns of a scene.")
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scenes = write_scenes(folder, given.scenes, given.rows, given.cols)
        (folder / "writer").mkdir()
        small = write_scenes(folder / "writer", 1, 6, 6)[0]
        found = compare(folder, scenes, given.repeats) | writer(folder / "writer", small)
    tiles = given.scenes * given.rows * given.cols
    machine = {
        "machine": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
    }
    versions = {name: version(name) for name in ("rszsl", "distributed", "torch")}
    record = {"command": " ".join(sys.argv), "scenes": given.scenes, "tiles": tiles, **found, **machine, **versions}
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
