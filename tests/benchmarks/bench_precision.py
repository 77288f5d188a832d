"""Arithmetic and runtime of the bundled model on this CPU: speed, and labels against fp32; precision.json.

    python tests/benchmarks/bench_precision.py [--quick] [--compile]

fp32 is torch's; `fp32, ONNX Runtime` is what the model runs in by itself. int8 needs `onnx`; --compile needs a C++
compiler and minutes.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from features import NAMES
from record import write_record

import rszsl
from rszsl.classes import ClassName
from rszsl.model import checkpoint
from rszsl.training.data import list_images
from rszsl.training.trunk import plain_view, read_square
from rszsl.zsl.data.folders import data_root

SETS = ("ucm", "aid")
BATCH, CALIBRATION, SEED = 32, 128, 20261
WITH_ONNX = find_spec("onnx") is not None
WAYS = {
    "fp32": {"runtime": "torch"},
    "fp32, ONNX Runtime": {},
    "bf16": {"precision": "bf16"},
}
"""How the model is loaded."""


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--quick", action="store_true")
    options.add_argument("--compile", action="store_true")
    options.add_argument("--plain", type=int, help=argparse.SUPPRESS)
    given = options.parse_args()
    warnings.filterwarnings("ignore")
    rounds, count = (3, 96) if given.quick else (15, 2000)
    if given.plain is not None:
        print(json.dumps(plain_allocator(given.plain, rounds)))
        return
    files, truth, tiles = read_tiles(count + CALIBRATION)
    with tempfile.TemporaryDirectory() as folder:
        graphs = export(Path(folder), tiles[count:]) if WITH_ONNX else {}
        figures = {"agreement": agreement(tiles[:count], sorted(set(truth)), graphs)}
        for threads in (1, 2):
            speeds = {"fp32, memory given back": run_plain(threads, given.quick)}
            speeds |= interleaved(runners(graphs, threads, compiled=given.compile), rounds)
            figures[f"{threads} threads"] = speeds
    what = (
        f"bundled model at batch {BATCH}: medians of {rounds} interleaved rounds, tiles a second of clock and of "
        f"processor time; labels among {len(set(truth))} class names against fp32 on {count} tiles; int8 ranges "
        f"from {CALIBRATION} other tiles"
    )
    if given.quick:
        print(json.dumps(figures, indent=1))
        return
    libraries = [name for name in ("torch", "onnx", "onnxruntime") if find_spec(name)]
    write_record(
        "precision", figures, seed=None, files=files, root=data_root(), what=what,
        libraries={name: version(name) for name in libraries},
    )  # fmt: skip


def read_tiles(count):
    """Image files, class names and tiles uint8 (count, 3, P, P), all classes in turn."""
    images = list_images(data_root(), SETS)[:count]
    side = rszsl.load_model("dsva-small", device="cpu").card.input_px
    views = [(plain_view(read_square(image.path), side).numpy() * 255).round().astype("uint8") for image in images]
    return [image.path for image in images], [NAMES.get(image.name, image.name) for image in images], np.stack(views)


class Heads(torch.nn.Module):
    """The network as ONNX wants it: a tuple."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, pixels):
        out = self.network(pixels)
        return out.embedding, out.attributes


def export(folder, calibration):
    """The network as ONNX, quantised to int8 (static, per channel, convolutions) on calibration tiles."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self):
            parts = np.array_split(normalised(calibration), len(calibration) // 16)
            self.parts = iter([{"pixels": part} for part in parts])

        def get_next(self):
            return next(self.parts, None)

    whole, ready, small = (folder / f"{name}.onnx" for name in ("fp32", "ready", "int8"))
    side = calibration.shape[-1]
    network = rszsl.load_model("dsva-small", device="cpu", runtime="torch").network
    torch.onnx.export(
        Heads(network), (torch.zeros(2, 3, side, side),), str(whole), dynamo=False,
        input_names=["pixels"], output_names=["embedding", "attributes"], dynamic_axes={"pixels": {0: "n"}},
        opset_version=17,
    )  # fmt: skip
    quant_pre_process(whole, ready, skip_symbolic_shape=True)
    quantize_static(
        ready, small, Reader(), quant_format=QuantFormat.QDQ, op_types_to_quantize=["Conv", "Add"], per_channel=True,
        activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
    )  # fmt: skip
    return {"int8, ONNX Runtime": small}


def normalised(tiles):
    """The bundled model's mean and std are one half each."""
    return (tiles.astype("float32") / 255 - 0.5) / 0.5


def session(path, threads):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def agreement(tiles, names, graphs):
    """Share of tiles whose nearest class is that of fp32, and cosines to what fp32 says, in percent and mean."""
    models = load_all()
    rows = models["fp32"].class_rows([ClassName(name) for name in names]).rows
    encoders = {name: model.encode for name, model in models.items()}
    for name, path in graphs.items():
        opened = session(path, torch.get_num_threads())
        encoders[name] = lambda part, opened=opened: opened.run(None, {"pixels": normalised(part)})
    said = {name: [attributes_of(encode(part)) for part in batched(tiles)] for name, encode in encoders.items()}
    exact = np.concatenate(said.pop("fp32"))
    label = (exact @ rows.T).argmax(1)
    figures = {}
    for name, parts in said.items():
        found = np.concatenate(parts)
        cosine = (found * exact).sum(1)
        figures[name] = {
            "same label, %": round(100 * float(np.mean((found @ rows.T).argmax(1) == label)), 2),
            "cosine, mean": round(float(cosine.mean()), 5),
            "cosine, least": round(float(cosine.min()), 5),
        }
    return figures


def attributes_of(encoded):
    return encoded[1] if isinstance(encoded, list) else encoded.attributes


def batched(tiles):
    return [tiles[start : start + BATCH] for start in range(0, len(tiles), BATCH)]


def load_all():
    return {name: rszsl.load_model("dsva-small", device="cpu", **how) for name, how in WAYS.items()}


def noise():
    side = rszsl.load_model("dsva-small", device="cpu").card.input_px
    return np.random.default_rng(SEED).integers(0, 256, (BATCH, 3, side, side), dtype="uint8")


def runners(graphs, threads, *, compiled):
    """What encodes one batch that is in memory, by name; each starts from bytes, as in a map."""
    torch.set_num_threads(threads)
    tiles = noise()
    models = load_all()
    found = {name: lambda model=model: model.encode(tiles) for name, model in models.items()}
    for name, path in graphs.items():
        opened = session(path, threads)
        found[name] = lambda opened=opened: opened.run(None, {"pixels": normalised(tiles)})
    if compiled:
        network = torch.compile(models["fp32"].network)
        pixels = torch.from_numpy(normalised(tiles)).contiguous(memory_format=torch.channels_last)
        found["fp32, torch.compile"] = lambda: inferred(network, pixels)
    return found


def inferred(network, pixels):
    with torch.inference_mode():
        return network(pixels)


def interleaved(found, rounds):
    """Medians over rounds in which each takes its turn."""
    spent = {name: [] for name in found}
    for number in range(rounds + 1):
        for name, work in found.items():
            clock_s, used_s = time.perf_counter(), time.process_time()
            work()
            if number:  # the first warms up
                spent[name].append((time.perf_counter() - clock_s, time.process_time() - used_s))
    return {name: per_second(values) for name, values in spent.items()}


def per_second(values):
    clock_s, used_s = np.median(values, axis=0)
    return {"tiles/s": round(BATCH / clock_s, 1), "tiles/CPU-s": round(BATCH / used_s, 1)}


def run_plain(threads, quick):
    """In a process of its own, where freed memory goes back to the system, as glibc does by itself."""
    command = [sys.executable, __file__, "--plain", str(threads), *(["--quick"] if quick else [])]
    run = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ)
    return json.loads(run.stdout.splitlines()[-1])


def plain_allocator(threads, rounds):
    checkpoint.keep_freed_memory = lambda: None
    torch.set_num_threads(threads)
    model, tiles = rszsl.load_model("dsva-small", device="cpu", runtime="torch"), noise()
    return interleaved({"fp32": lambda: model.encode(tiles)}, rounds)["fp32"]


if __name__ == "__main__":
    main()
