"""What a command costs before it has done much, and where that goes; launch.json.

    python tests/benchmarks/bench_launch.py [--repeats 5]

Every command runs in a process of its own; files are in the page cache. Seconds are of the processor, of all threads.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import rasterio
from rasterio.transform import from_origin
from record import write_record

SIDE_PX, GSD_M, SEED = 160, 1.5, 20261
STEPS = (
    ("torch", "import torch"),
    ("geopandas, pyogrio, scipy", "import geopandas, pyogrio, scipy.sparse"),
    ("ONNX Runtime", "import onnxruntime"),
    ("rszsl", "import rszsl.pipeline.mapping"),
    ("torchgeo, and the torchvision that it brings", "import rszsl.tiling"),
    ("loading the model", "model = rszsl.load_model(device='cpu')"),
    ("the map of one tile", "rszsl.map_scene(scene, 'forest,river', model=model, output=output, overwrite=True)"),
)
"""What a map imports and does, in an order in which each step is charged with what no earlier one has brought."""
CLOCKED = """
import json, sys, time
scene, output, spent = sys.argv[1], sys.argv[2], {}
import rszsl
for name, code in json.loads(sys.argv[3]):
    start_s = time.process_time()
    exec(code)
    spent[name] = time.process_time() - start_s
print(json.dumps(spent))
"""


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--repeats", type=int, default=5)
    repeats = options.parse_args().repeats
    with tempfile.TemporaryDirectory() as folder:
        scene, output, cache = (str(Path(folder) / name) for name in ("one.tif", "one.gpkg", "one.rszsl-cache"))
        make_tile(scene)
        rszsl("embed", scene, "--cache", cache, "-q")
        label = ("--classes", "forest,river", "-o", output, "--overwrite", "-q")
        commands = {
            "map, one tile": ("map", scene, *label),
            "relabel, one tile": ("relabel", cache, *label),
            "attributes forest": ("attributes", "forest"),
            "--help": ("--help",),
        }
        runs = {name: [] for name in commands}
        steps = []
        for _ in range(repeats):
            for name, command in commands.items():
                runs[name].append(rszsl(*command))
            run = [sys.executable, "-c", CLOCKED, scene, output, json.dumps(STEPS)]
            steps.append(json.loads(subprocess.run(run, capture_output=True, text=True, check=True).stdout))
    figures = {
        name: {"CPU s": median(cpu for cpu, _ in found), "s": median(clock for _, clock in found)}
        for name, found in runs.items()
    }
    figures["map, CPU s of"] = {name: median(found[name] for found in steps) for name, _ in STEPS}
    write_record("launch", figures, seed=SEED, what=f"medians of {repeats} runs, each in a new process")


def make_tile(path):
    place = from_origin(500_000, 5_300_000, GSD_M, GSD_M)
    profile = {"count": 3, "height": SIDE_PX, "width": SIDE_PX, "dtype": "uint8", "crs": "EPSG:32632"}
    with rasterio.open(path, "w", driver="GTiff", transform=place, **profile) as sink:
        sink.write(np.random.default_rng(SEED).integers(0, 256, (3, SIDE_PX, SIDE_PX), dtype="uint8"))


def rszsl(*arguments):
    """CPU seconds and seconds of a command."""
    before, start_s = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, "-m", "rszsl", *arguments], check=True, capture_output=True, env=os.environ)
    clock_s, after = time.perf_counter() - start_s, resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, clock_s


def median(values):
    return round(float(np.median(list(values))), 2)


if __name__ == "__main__":
    main()
