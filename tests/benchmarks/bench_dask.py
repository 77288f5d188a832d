"""What a cluster costs and gives, with the bundled model, single-threaded, on a quiet machine:

    OMP_NUM_THREADS=1 PYTHONPATH=tests python tests/benchmarks/bench_dask.py

Writes JSON: seconds and CPU seconds in process, over Dask with one worker and with two, and by two processes without
Dask that map half of the scenes each (each the best of `--repeats`), each worker kept to one core; overhead and
speed-up, bytes a tile, tasks a second for empty units, and what the writer takes a scene and a tile. CPU seconds, which
other programs disturb less, are of all processes: client, scheduler, nannies, workers. Clusters have the settings of
`--scheduler local` (`--settings dask`: Dask's own), and only the one that is measured is there.
"""

import argparse
import os
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import psutil
import rasterio
from clusters import Cluster
from rasterio.transform import from_origin
from record import write_record

import rszsl
from rszsl.batch.checkpoint import checkpoint_of
from rszsl.batch.cluster import CALM
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


def measure(scenes: list[Path], out: Path, cluster: Cluster | None = None, client=None) -> tuple[float, float]:
    """One batch from the call to the last file: seconds, and CPU seconds of all processes that have a part in it."""
    cpu_s, start_s = cpu_seconds(cluster), time.perf_counter()
    result = rszsl.map_scenes(scenes, CLASSES, out=out, client=client, device="cpu")
    assert result.clean
    return time.perf_counter() - start_s, cpu_seconds(cluster) - cpu_s


def cpu_seconds(cluster: Cluster | None) -> float:
    """CPU seconds so far of this process, and of a cluster's scheduler, nannies and workers."""
    roots = [psutil.Process(process.pid) for process in cluster.processes] if cluster else []
    family = [psutil.Process(), *roots, *(child for root in roots for child in root.children(recursive=True))]
    return sum(sum(process.cpu_times()[:2]) for process in family)


def warm(client) -> None:
    """Load the model on every worker and let it see a tile, outside the measurement."""
    source = checkpoint_of(MapOptions(model="dsva-small").model)

    def see() -> int:
        model = model_of(source, "cpu")
        return len(model.encode(np.zeros((1, 3, model.card.input_px, model.card.input_px), dtype="float32")).attributes)

    client.run(see)
    for core, address in enumerate(sorted(client.scheduler_info()["workers"])):
        client.run(keep_to, core, workers=[address])


def keep_to(core: int) -> None:
    """Keep every thread of this process to one core, as a cluster's job of one core is: reading ahead is not free."""
    for thread in Path("/proc/self/task").iterdir():
        os.sched_setaffinity(int(thread.name), {core})


def compare(folder: Path, scenes: list[Path], repeats: int) -> dict[str, float]:
    """In process, one worker, two workers, no Dask, in turn, so that a busy moment meets all; the best of each."""
    import torch

    torch.set_num_threads(1)
    best = dict.fromkeys(("in_process", "one_worker", "two_workers", "two_without_dask"), (np.inf, np.inf))
    measure(scenes[:1], folder / "warm")
    for turn in range(repeats):
        found = {
            "in_process": measure(scenes, folder / f"in_process{turn}"),
            "one_worker": over_dask(1, scenes, folder / f"one{turn}"),
            "two_workers": over_dask(2, scenes, folder / f"two{turn}"),
            "two_without_dask": without_dask(scenes, folder / f"without{turn}"),
        }
        best = {name: tuple(map(min, before, found[name])) for name, before in best.items()}
    with Cluster(workers=1) as one, one.client(1) as client:
        tasks_per_s = rate_of_tasks(client)
    seconds = {f"{name}_s": round(wall_s, 3) for name, (wall_s, _) in best.items()}
    cpu = {f"{name}_cpu_s": round(cpu_s, 3) for name, (_, cpu_s) in best.items()}
    here, alone, both, _ = best.values()
    return (
        seconds
        | cpu
        | {
            "overhead_of_dask": round(alone[0] / here[0] - 1, 4),
            "overhead_of_dask_cpu": round(alone[1] / here[1] - 1, 4),
            "speed_up_of_two": round(alone[0] / both[0], 3),
            "tasks_per_s": round(tasks_per_s),
        }
    )


def over_dask(workers: int, scenes: list[Path], out: Path) -> tuple[float, float]:
    """`measure` over a cluster of warm workers, which ends afterwards: even idle it would take part of the cores."""
    with Cluster(workers=workers) as cluster, cluster.client(workers) as client:
        warm(client)
        measure(scenes[:2], out.with_suffix(".warm"), cluster, client)
        return measure(scenes, out, cluster, client)


def without_dask(scenes: list[Path], out: Path) -> tuple[float, float]:
    """What the machine itself allows: two warm processes, each on its core, with half of the scenes each."""
    with ExitStack() as stack:
        pools = [stack.enter_context(ProcessPoolExecutor(1, get_context("spawn"))) for _ in range(2)]
        for core, pool in enumerate(pools):
            pool.submit(measure, scenes[:1], out.with_suffix(f".warm{core}")).result()
            pool.submit(keep_to, core).result()
        start_s = time.perf_counter()
        halves = [pool.submit(measure, scenes[i::2], out.with_suffix(f".{i}")) for i, pool in enumerate(pools)]
        cpu_s = sum(half.result()[1] for half in halves)
        return time.perf_counter() - start_s, cpu_s


def rate_of_tasks(client, tasks: int = 500) -> float:
    """Empty tasks a second through one worker thread, result fetched one by one as the batch does."""
    start_s = time.perf_counter()
    for future in [client.submit(str, i, pure=False) for i in range(tasks)]:
        future.result()
    return tasks / (time.perf_counter() - start_s)


def writer(folder: Path, scene: Path) -> dict[str, float]:
    """Bytes a tile, and the writer's seconds for a small scene and for each tile of a large one."""
    options = MapOptions(model="dsva-small", device="cpu", overlap=0.9)
    model = model_of(checkpoint_of(options.model), "cpu")
    plan = plan_scene(str(scene), model.card, options)
    job = make_job(model, as_classes(CLASSES), folder / "w.gpkg", options)
    labels = label_batches(
        encode_tiles(plan, model, options), plan.sampler.tile_ids, model, job, Silent(), plan.sampler.grid
    )
    start_s = time.perf_counter()
    write_map(plan.footing, labels, model, job, Clock())
    many_s = time.perf_counter() - start_s
    small = plan_scene(str(scene), model.card, MapOptions(model="dsva-small", device="cpu"))
    few = label_batches(
        encode_tiles(small, model, options), small.sampler.tile_ids, model, job, Silent(), plan.sampler.grid
    )
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
    parser.add_argument("--name", default="dask", help="Of the record in docs/benchmarks.")
    parser.add_argument("--scenes", type=int, default=8)
    parser.add_argument("--rows", type=int, default=16, help="Tile rows of a scene.")
    parser.add_argument("--cols", type=int, default=16, help="Tile columns of a scene.")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--settings", choices=("local", "dask"), default="local", help="Of the clusters.")
    given = parser.parse_args()
    if given.settings == "local":
        os.environ.update({f"DASK_{name.replace('.', '__').replace('-', '_')}".upper(): CALM[name] for name in CALM})
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scenes = write_scenes(folder, given.scenes, given.rows, given.cols)
        (folder / "writer").mkdir()
        small = write_scenes(folder / "writer", 1, 6, 6)[0]
        found = compare(folder, scenes, given.repeats) | writer(folder / "writer", small)
    write_record(
        given.name, found, seed=0, load_1min_at_start=round(load, 1), repeats=given.repeats, scenes=given.scenes,
        tiles=given.scenes * given.rows * given.cols, distributed=version("distributed"), torch=version("torch"),
        settings=given.settings,
        what="noise; the model single-threaded, each worker on one core; best of repeats; busy machine: see load_1min",
    )  # fmt: skip


if __name__ == "__main__":
    main()
