"""Where the time of the engine's parts goes, sampled by py-spy (`pip install py-spy`); profile.json.

    python tests/benchmarks/bench_profile.py

Only threads that are at work are counted. A sample belongs to the innermost function of rszsl that it is in, with all
that this calls: `model/graph.py __call__` is ONNX Runtime, `scene/reader.py _read_raw` is GDAL.
"""

import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
from affine import Affine
from bench_map import CLASSES, make_scene
from bench_scale import NAMES, SEED, TILE_PX, UTM, random_tiles
from record import write_record

import rszsl
from rszsl.output.cache import CacheKey, write_cache

RATE, SIDE_PX, CACHED, SHOWN = 50, 6000, 317, 6
PER_CENT = 0.5
"""Less is not shown."""
LAUNCH = "rszsl/__main__.py"


def main():
    with tempfile.TemporaryDirectory() as folder:
        out = str(Path(folder) / "out.gpkg")
        command = ["-m", "rszsl"]
        label = ["--classes", CLASSES, "-o", out, "--overwrite", "-q", "--device", "cpu", "--model", "dsva-small"]
        cache = str(cache_of_noise(Path(folder) / "noise.rszsl-cache"))
        fifty = ["--classes", NAMES, "-o", out, "--overwrite", "-q", "--min-confidence", "0.3", "--device", "cpu"]
        scale = str(Path(__file__).with_name("bench_scale.py"))
        works = {
            "map, deflate": [*command, "map", str(make_scene(SIDE_PX, "deflate")), *label],
            "map, jpeg": [*command, "map", str(make_scene(SIDE_PX, "jpeg")), *label],
            "relabel, 100 489 tiles, 50 classes": [*command, "relabel", cache, *fifty],
            "label and write a million tiles": [scale, "peak", "1000"],
        }
        figures = {name: profile(work, Path(folder) / "stacks") for name, work in works.items()}
    what = f"scenes of {SIDE_PX} px a side; per cent of {RATE} samples a second of busy threads; imports left out"
    write_record("profile", figures, seed=SEED, what=what)


def cache_of_noise(path):
    """As `bench_scale.py relabel` makes it."""
    model, rng = rszsl.load_model("dsva-small", device="cpu"), np.random.default_rng(SEED)
    place, size_px = Affine(0.5, 0, 500_000, 0, -0.5, 5_300_000), (CACHED * TILE_PX, CACHED * TILE_PX)
    key = CacheKey(
        scene="generated.tif", fingerprint="0" * 32, size_px=size_px, transform=tuple(place)[:6], crs=UTM.to_wkt(),
        tile_px=(TILE_PX, TILE_PX), overlap=0.0, aoi=None, radiometry={}, min_valid=0.01, model=model.card.name,
        model_sha256=model.card.sha256,
    )  # fmt: skip
    with write_cache(path, key) as sink:
        for tiles in random_tiles(CACHED**2, len(model.attribute_names), rng):
            sink.append(tiles)
    return path


def profile(work, stacks):
    """Per cent of the samples of each of rszsl's functions, and of each kind of thread."""
    spy = ["py-spy", "record", "--rate", str(RATE), "--format", "raw", "--threads", "--nonblocking", "-o", str(stacks)]
    subprocess.run([*spy, "--", sys.executable, *work], check=True, capture_output=True)
    functions, threads = Counter(), Counter()
    for line in stacks.read_text(encoding="utf-8").splitlines():
        stack, _, count = line.rpartition(" ")
        thread, *frames = stack.split(";")
        if any("importlib" in frame for frame in frames):
            continue
        own = [frame for frame in frames if "rszsl/" in frame and LAUNCH not in frame]
        functions[function_of(own[-1]) if own else "other"] += int(count)
        threads[thread.partition(": ")[2].rstrip("0123456789_-") or "other"] += int(count)
    return {"by function": shares(functions), "by thread": shares(threads)}


def function_of(frame):
    """`_read_raw (rszsl/scene/reader.py:142)` -> `scene/reader.py _read_raw`."""
    name, _, place = frame.partition(" (")
    return f"{place.rpartition('rszsl/')[2].rpartition(':')[0]} {name}"


def shares(counted):
    total = sum(counted.values())
    rows = [(name, round(100 * count / total, 1)) for name, count in counted.most_common(SHOWN)]
    return {name: share for name, share in rows if share >= PER_CENT}


if __name__ == "__main__":
    main()
