"""What single steps of the bundled model's recipe are worth, on few images and concepts that no fold keeps unseen.

python tests/benchmarks/bench_recipe.py RECIPE: docs/benchmarks/recipe.json, and the table of docs/TRAINING.md.

`PER_FOLDER` images of each folder, `EPOCHS` passes; a network for each loss, and from each network several
heads and rows, which are found in closed form. With the first seed another network for each loss, which sees no image
of UC Merced, says how taught names are found in a set that was not learnt from.

Unseen are the ten classes of AID of `bench_start.py`, in images and rows; the text side, which all trainings share,
holds out the names of the recipe's folds only. The harmonic mean is that of the shares of unseen and of kept-out
images found among all names, at the best handicap of the taught ones.
"""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from bench_start import UNSEEN
from record import ROOT, write_record

from rszsl.labels.examples import class_row
from rszsl.labels.graph import neighbour_graph
from rszsl.labels.refine import NEIGHBOURS, refine
from rszsl.model.text import unit
from rszsl.training.decorrelate import decorrelate, lean_on_network
from rszsl.training.direct import fit_direct
from rszsl.training.folds import Fold
from rszsl.training.knowledge import gather
from rszsl.training.prepare import build_features, build_lesson, build_network
from rszsl.training.recipe import read_recipe
from rszsl.training.train import TrainingSet, joint_scores, pooled_features, train_network
from rszsl.zsl.data.folders import class_folders, data_root, image_files
from rszsl.zsl.experiments.table import insert_table
from rszsl.zsl.metrics import class_accuracy

PER_FOLDER, EPOCHS, SEEDS = 55, 12, (20261,)
WHITENING = 0.3
HEADS = {
    "ridge 0.1, shrinkage 0.3": (0.1, 0.3, 0.0),
    "ridge 1": (1.0, 0.3, 0.0),
    "ridge 3": (3.0, 0.3, 0.0),
    "ridge 1, half from the network": (1.0, 0.3, 0.5),
    "ridge 1, as much from the network": (1.0, 0.3, 1.0),
    "ridge 1, half from the network, shrinkage 0.1": (1.0, 0.1, 0.5),
    "ridge 3, half from the network, shrinkage 0.1": (3.0, 0.1, 0.5),
}
"""Penalty of the direct head, shrinkage of the decorrelation, and what the network counts in rows of taught names."""
PARTS = ("train", "unseen", "kept_out", "foreign")
SHOWN, DRAWS = 5, 5
OFFSETS = np.arange(-0.1, 0.45, 0.025)
SHARPNESS = 15.0


def few_images(recipe, data, to):
    """Link some images of each folder, and the captions."""
    for name in recipe.sets:
        for folder in class_folders(data / name):
            (to / name / folder.name).mkdir(parents=True, exist_ok=True)
            for file in sorted(image_files(folder))[:PER_FOLDER]:
                link(to / name / folder.name / file.name, file)
    link(to / recipe.captions, data / recipe.captions)


def link(at, file):
    if not at.exists():
        at.symlink_to(file.resolve())


def measures(said, known, text):
    """What attributes of all images (N, K), of unit length, are good for."""
    unseen, kept_out, names = known.parts.unseen, known.parts.kept_out, known.fold.unseen
    truth, shown, left_out = known.concepts[unseen], np.ascontiguousarray(said[unseen]), known.concepts[kept_out]
    rows = np.stack([text.text_row(name) for name in names])
    similarity = shown @ rows.T
    prior = np.exp(SHARPNESS * (similarity - similarity.max(1, keepdims=True)))
    refined = refine(shown, prior / prior.sum(1, keepdims=True), neighbour_graph(shown, NEIGHBOURS))
    every, both = [*known.seen, *names], np.concatenate([text.taught_rows, rows]).T
    means = []
    for offset in OFFSETS:
        handicap = np.r_[np.full(len(known.seen), offset), np.zeros(len(names))]
        u, s = (
            class_accuracy(said[part] @ both - handicap, every, known.concepts[part]) for part in (unseen, kept_out)
        )
        means.append(2 * u * s / max(u + s, 1e-9))
    return {
        "by name": class_accuracy(similarity, names, truth),
        "refined": class_accuracy(refined, names, truth),
        "five examples": float(np.mean([with_examples(shown, rows, truth, names, draw) for draw in range(DRAWS)])),
        "taught, kept out": class_accuracy(said[kept_out] @ text.taught_rows.T, known.seen, left_out),
        "harmonic mean": max(means),
    }


def with_examples(shown, rows, truth, names, draw):
    rng = np.random.default_rng(draw)
    examples = [rng.permutation(np.flatnonzero(truth == name))[:SHOWN] for name in names]
    learnt = np.stack([class_row(row, shown[at]) for row, at in zip(rows, examples, strict=True)])
    left = np.setdiff1d(np.arange(len(truth)), np.concatenate(examples))
    return class_accuracy(shown[left] @ learnt.T, names, truth[left])


def in_another_set(said, known, text):
    """How well taught names are found in the set that was not learnt from."""
    foreign = known.parts.foreign
    names = [name for name in known.seen if name in set(known.concepts[foreign].tolist())]
    rows = text.taught_rows[[known.seen.index(name) for name in names]]
    return {"taught, in another set": class_accuracy(said[foreign] @ rows.T, names, known.concepts[foreign])}


def train(recipe, known, features, whitening, seed):
    """Train one network, or go on where an earlier run stopped."""
    recipe = replace(recipe, seed=seed, training=replace(recipe.training, epochs=EPOCHS))
    net = build_network(recipe, len(known.attributes), known.embeddings.shape[1])
    rows = torch.from_numpy(np.flatnonzero(known.parts.train))
    train_network(
        net, TrainingSet(features, rows, build_lesson(known, whitening)), recipe.training,
        recipe.work / f"{known.fold.name}-whitening-{whitening}-seed-{seed}", seed=seed, device=torch.device("cpu"),
        measure=lambda _: f"{known.fold.name}, whitening {whitening}, seed {seed}", log=print,
    )  # fmt: skip
    return net, pooled_features(net, features, rows)


def with_heads(net, pooled, known, features, measure, ridge, shrinkage, share):
    """Fit the heads and rows of a trained network, and measure them."""
    train = known.parts.train
    fit_direct(net.direct_head, pooled, known.scores[train], ridge)
    scores = joint_scores(net, features, torch.arange(len(features)))
    text = decorrelate(net, known.text, scores[train], shrinkage)
    text = lean_on_network(net, text, scores[train], known.concept_ids(train), share)
    return measure(unit((scores - net.score_mean.numpy()) @ net.decorrelation.numpy()), known, text)


def main():
    recipe = read_recipe(Path(sys.argv[1]))
    work = recipe.work / "few"
    few_images(recipe, data_root(), work / "data")
    cache = replace(recipe.teachers, vision_cache=work / "embeddings")
    recipe = replace(recipe, work=work / "work", teachers=cache)
    known = gather(recipe, Fold("all-sets", recipe.sets, UNSEEN, "aid"), work / "data", print)
    fewer = gather(recipe, Fold("no-ucm", ("aid", "rsscn7"), UNSEEN, "aid"), work / "data", print)
    features = torch.from_numpy(np.array(build_features(recipe, known, print).numpy()))
    found = {}
    for whitening in (0.0, WHITENING):
        for at, seed, measure in [(fewer, SEEDS[0], in_another_set), *((known, seed, measures) for seed in SEEDS)]:
            net, pooled = train(recipe, at, features, whitening, seed)
            for name, head in HEADS.items():
                row = found.setdefault(f"{name}{', whitened loss' if whitening else ''}", [])
                row.append(with_heads(net, pooled, at, features, measure, *head))
    mean = {row: averages(runs) for row, runs in found.items()}
    counts = {at.fold.name: {part: int(getattr(at.parts, part).sum()) for part in PARTS} for at in (known, fewer)}
    write_record(
        "recipe", mean, seed=list(SEEDS), per_folder=PER_FOLDER, epochs=EPOCHS, unseen=list(UNSEEN),
        images=counts,
        runs={row: [{k: round(v, 4) for k, v in f.items()} for f in runs] for row, runs in found.items()},
    )  # fmt: skip
    insert_table(ROOT / "docs" / "TRAINING.md", "recipe", table(mean))


def averages(runs):
    """Mean of each figure over the runs that have it."""
    figures = dict.fromkeys(key for run in reversed(runs) for key in run)
    return {key: round(float(np.mean([run[key] for run in runs if key in run])), 4) for key in figures}


def table(mean):
    columns = list(next(iter(mean.values())))
    head = f"| % | {' | '.join(columns)} |\n| --- | {' | '.join('---:' for _ in columns)} |\n"
    return head + "".join(
        f"| {row} | {' | '.join(f'{100 * f[c]:.1f}' for c in columns)} |\n" for row, f in mean.items()
    )


if __name__ == "__main__":
    main()
