"""Refinement: accuracy on published features, with the bundled model, and its time; a part by name, or all.

python tests/benchmarks/bench_refine.py [whurs19] [speed] [bundled]
"""

import csv
import resource
import sys
import time

import numpy as np
from bench_examples import confidence_of, refined_choice, rows_of
from features import ImageSet
from record import write_record

import rszsl
from rszsl.labels.graph import neighbour_graph
from rszsl.labels.refine import NEIGHBOURS, refine, softmax
from rszsl.model.text import unit
from rszsl.zsl.data.folders import data_root

SEED = 20261
SCALE = 100.0
"""CLIP's own logit scale."""


def whurs19():
    """WHU-RS19, six models, averaged-prompt text, no labels: docs/benchmarks/refine_whurs19.json."""
    folder = data_root() / "whurs19_features"
    files = [*folder.glob("*.npz"), folder / "results_averageprompt.csv"]
    figures = {}
    with (folder / "results_averageprompt.csv").open() as file:
        published = {f"{r['model_name']}_{r['model_architecture']}": r for r in csv.DictReader(file)}
    for path in sorted(folder.glob("*.npz")):
        kept = np.load(path)
        images, texts, labels = (
            unit(kept["images"].astype("float32")),
            unit(kept["texts_averageprompt"].astype("float32")),
            kept["labels"].astype(int),
        )
        similarity = images @ texts.T
        posterior = refine(images, softmax(SCALE * similarity), neighbour_graph(images, NEIGHBOURS))
        row = published[path.stem]
        figures[path.stem] = {
            "plain": percent(similarity.argmax(1) == labels),
            "plain, published": round(float(row["acc_base_averageprompt_zs"]), 2),
            "refined": percent(posterior.argmax(1) == labels),
            "refined, published": round(float(row["acc_base_averageprompt_zs_trans"]), 2),
        }
    figures["mean"] = {
        key: round(float(np.mean([f[key] for f in figures.values()])), 2) for key in next(iter(figures.values()))
    }
    what = "top-1 accuracy in percent, 1005 images, 19 classes, averaged-prompt text, no labels"
    write_record("refine_whurs19", figures, seed=None, files=files, root=folder.parent, what=what)


def speed(count=100_000, width=512, classes=30):
    """Synthetic tiles in clusters: docs/benchmarks/refine_speed.json."""
    rng = np.random.default_rng(SEED)
    centres = rng.standard_normal((classes, width), dtype="float32")
    kinds = 0.7 * rng.standard_normal((600, width), dtype="float32")
    truth = rng.integers(0, classes, count)
    vectors = unit(centres[truth] + kinds[rng.integers(0, 600, count)] + rng.standard_normal((count, width), "float32"))
    prior = softmax(SCALE / 10 * vectors @ unit(centres).T)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    wall, cpu = time.monotonic(), time.process_time()
    graph = neighbour_graph(vectors, NEIGHBOURS)
    graph_wall, graph_cpu = time.monotonic() - wall, time.process_time() - cpu
    refine(vectors, prior, graph)
    total_wall, total_cpu = time.monotonic() - wall, time.process_time() - cpu
    figures = {
        "graph, seconds": round(graph_wall, 1),
        "graph, CPU seconds": round(graph_cpu, 1),
        "all, seconds": round(total_wall, 1),
        "all, CPU seconds": round(total_cpu, 1),
        "share of true neighbours found": recall(vectors, graph, rng),
        "memory beyond the tiles' own, MiB": round(
            (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        ),
    }
    what = (
        f"{count} synthetic tiles of {width} numbers, {classes} classes; the machine may have been busy: see load_1min"
    )
    write_record("refine_speed", figures, seed=SEED, what=what)


def recall(vectors, graph, rng, asked=500):
    """Share of the exact nearest neighbours of some tiles that the graph holds."""
    at = rng.choice(len(vectors), asked, replace=False)
    cosines = vectors[at] @ vectors.T
    cosines[np.arange(asked), at] = -np.inf
    exact = np.argpartition(-cosines, NEIGHBOURS - 1, axis=1)[:, :NEIGHBOURS]
    found = [np.isin(near, graph[one].indices).mean() for one, near in zip(at, exact, strict=True)]
    return round(float(np.mean(found)), 4)


def bundled(draws=10):
    """Images as tiles, with all or few of their classes on the list: docs/benchmarks/refine_bundled.json."""
    model = rszsl.load_model("dsva-small", device="cpu")
    figures, files = {}, []
    for name, limit in (("aid", 2400), ("rsscn7", 1400)):
        images = ImageSet(model, name, limit)
        files += images.files
        for listed in (len(images.names), 6, 3):
            runs = [accepted_right(model, images, listed, number) for number in range(draws)]
            plain, refined = np.mean(runs, axis=0)
            figures[f"{name}, {listed} of {len(images.names)} classes listed"] = {
                "plain": round(100 * plain, 1),
                "refined": round(100 * refined, 1),
                "largest loss of a draw": round(100 * float(max(0.0, *(a - b for a, b in runs))), 1),
            }
    what = "percent of the labelled tiles (at the model's own threshold) whose class is right; text alone"
    caution = "the model was taught these names, and by most of these images"
    more = {"what": what, "draws": draws, "caution": caution, "model_sha256": model.card.sha256}
    write_record("refine_bundled", figures, seed=SEED, files=files, root=data_root(), **more)


def accepted_right(model, images, listed, number):
    """Share of labelled tiles put right, plain and refined, with `listed` classes drawn at random."""
    rng = np.random.default_rng([SEED, number])
    kept = np.sort(rng.permutation(len(images.names))[:listed])
    asked = np.arange(len(images.truth))
    rows = rows_of(model, images, [asked[:0]] * len(images.names))
    confidence = confidence_of(model, images, asked, rows)[:, kept]  # a class's does not depend on the list
    labelled = confidence.max(1) >= model.min_confidence
    choices = confidence.argmax(1), refined_choice(model, images, asked, confidence)
    return [float(np.mean(kept[choice[labelled]] == images.truth[labelled])) for choice in choices]


def percent(right):
    return round(100 * float(np.mean(right)), 2)


def main():
    parts = {"whurs19": whurs19, "speed": speed, "bundled": bundled}
    for name in sys.argv[1:] or parts:
        parts[name]()


if __name__ == "__main__":
    main()
