"""What the bundled models cost on a CPU, beside CLIP vision towers of the usual shapes with random weights:

    python tests/benchmarks/bench_cost.py [--repeats 9]

Writes docs/benchmarks/cost.json and the table of docs/MODELS.md. Models take turns, and every figure is a median, so
that a busy moment hurts all of them and decides nothing; a machine that is busy throughout makes all figures too large.
The bundled models are timed as `encode` runs them, with its normalisation; of CLIP the forward pass of the tower alone.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from importlib.metadata import version

from record import ROOT, write_record

from rszsl.zsl.experiments.table import insert_table

BUNDLED = ("dsva-small", "dsva-base")
TOWERS = {"CLIP ViT-B/32": 32, "CLIP ViT-B/16": 16}
SETTINGS = ((1, 32), (1, 1), (2, 32), (2, 1))
"""Threads and batch."""
HALF_BYTES = 2
LOAD = """
import sys, time
start, cpu = time.perf_counter(), time.process_time()
import rszsl, torch, rszsl.model.checkpoint
ready, ready_cpu = time.perf_counter(), time.process_time()
rszsl.load_model(sys.argv[1], device="cpu")
print(ready - start, time.perf_counter() - ready, time.process_time() - ready_cpu)
"""


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=9)
    repeats = parser.parse_args().repeats
    load = {name: load_times(name, min(repeats, 5)) for name in BUNDLED}
    models, rows = contestants()
    times = measure(models, repeats)
    for name, row in rows.items():
        row["ms_per_tile"] = {
            f"{threads}_threads_batch_{batch}": round(statistics.median(times[name, threads, batch]), 2)
            for threads, batch in SETTINGS
        }
    libraries = {name: version(name) for name in ("torch", "timm", "transformers")}
    figures = {"models": rows, "load": load}
    write_record("cost", figures, seed=0, repeats=repeats, libraries=libraries)
    insert_table(ROOT / "docs" / "MODELS.md", "cost", table(figures))


def load_times(name, repeats):
    """Seconds of a fresh process: the imports, then loading; and the CPU seconds of loading. Medians."""
    runs = []
    for _ in range(repeats + 1):  # the first one warms the disk cache, and does not count
        environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        run = subprocess.run(
            [sys.executable, "-c", LOAD, name], capture_output=True, text=True, check=True, env=environment
        )
        runs.append([float(part) for part in run.stdout.split()])
    columns = zip(*runs[1:], strict=True)
    names = ("imports_s", "load_s", "load_cpu_s")
    return {name: round(statistics.median(column), 2) for name, column in zip(names, columns, strict=True)}


def contestants():
    """Functions that encode a batch of so many tiles, and what is known of each model without running it."""
    import numpy as np
    import torch
    from safetensors.numpy import load_file
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    import rszsl
    from rszsl.model.packing import count_numbers

    random = np.random.default_rng(0)
    models, rows = {}, {}
    for name in BUNDLED:
        ours = rszsl.load_model(name, device="cpu")
        side = ours.card.input_px
        weights = load_file(ours.card.path.parent / "model.safetensors")
        image_side = {key: array for key, array in weights.items() if key.startswith("network.")}
        tiles = random.random((32, 3, side, side), dtype="float32")
        models[name] = lambda batch, ours=ours, tiles=tiles: ours.encode(tiles[:batch])
        parameters = count_numbers({key: array.shape for key, array in image_side.items()})
        rows[name] = _row(side, parameters, sum(array.nbytes for array in image_side.values()))
    for name, patch_px in TOWERS.items():
        torch.manual_seed(0)
        config = CLIPVisionConfig(patch_size=patch_px, projection_dim=512)
        tower = CLIPVisionModelWithProjection(config).eval()
        pixels = torch.from_numpy(random.random((32, 3, config.image_size, config.image_size), dtype="float32"))
        models[name] = lambda batch, tower=tower, pixels=pixels: tower(pixels[:batch])
        count = sum(p.numel() for p in tower.parameters())
        rows[name] = _row(config.image_size, count, count * HALF_BYTES)
    return models, rows


def _row(input_px, parameters, size_bytes):
    return {
        "input_px": input_px,
        "parameters_millions": round(parameters / 1e6, 2),
        "image_side_megabytes": round(size_bytes / 1e6, 1),
    }


def measure(models, repeats):
    """Milliseconds a tile of every model and setting, `repeats` times in turn."""
    import torch

    times = {(name, *setting): [] for name in models for setting in SETTINGS}
    with torch.inference_mode():
        for encode in models.values():
            encode(1)  # the first call is slow, and does not count
        for _ in range(repeats):
            for threads, batch in SETTINGS:
                torch.set_num_threads(threads)
                for name, encode in models.items():
                    start_s = time.perf_counter()
                    encode(batch)
                    times[name, threads, batch].append(1000 * (time.perf_counter() - start_s) / batch)
    return times


def table(figures):
    """Make the page's table of the record's figures."""
    heads = ["image side", "input", "parameters", "weights"]
    heads += [f"{threads} thread{'s' * (threads > 1)}, batch {batch}" for threads, batch in SETTINGS]
    lines = [f"| {' | '.join(heads)} |", "|---|" + "---:|" * (len(heads) - 1)]
    for name, row in figures["models"].items():
        cells = [name, f"{row['input_px']} px", f"{row['parameters_millions']:.1f} M"]
        cells += [f"{row['image_side_megabytes']:.1f} MB"]
        cells += [f"{milliseconds:.1f} ms" for milliseconds in row["ms_per_tile"].values()]
        lines.append(f"| {' | '.join(cells)} |")
    for name, load in figures["load"].items():
        lines += [
            "",
            f"`{name}` loads in {load['load_s']:.2f} s in a fresh process, after {load['imports_s']:.1f} s of imports.",
        ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
