"""How many phrases that say what a name looks like are enough: python tests/benchmarks/bench_looks.py RECIPE

The teacher's embeddings of thirteen classes of AID that no fold keeps unseen, found by name through its attributes: no
network is asked. Phrases are drawn from those of `prompts.toml` for these names. Writes docs/benchmarks/looks.json; per
cent, mean over the classes, and standard deviation over the draws.
"""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from bench_start import UNSEEN
from record import write_record

from rszsl.model.prompts import NamePrompts
from rszsl.model.text import unit
from rszsl.training.decorrelate import symmetric_roots
from rszsl.training.folds import Fold
from rszsl.training.knowledge import gather
from rszsl.training.recipe import read_recipe
from rszsl.zsl.data.folders import data_root
from rszsl.zsl.metrics import class_accuracy

THIRTEEN = (*UNSEEN, "railway station", "school", "sparse residential")
COUNTS, DRAWS = (1, 2, 3, 4, 6, 8), 10


def asked_of(recipe, known):
    """A function of rows to per cent: how often the teacher's attributes find the names of the rows."""
    learnt = known.scores[known.parts.train]
    inverse, root = symmetric_roots(learnt, recipe.alignment.shrinkage)
    unseen = known.parts.unseen
    said = unit((known.scores[unseen] - learnt.mean(0)) @ inverse)

    def found(row_of):
        rows = unit(np.stack([row_of(name) for name in THIRTEEN]) @ root)
        return round(100 * class_accuracy(said @ rows.T, THIRTEEN, known.concepts[unseen]), 1)

    return found


def fewer(prompts, count, draw):
    """The prompts with so many phrases of each name that is asked for."""
    rng = np.random.default_rng(draw)
    drawn = {name: tuple(rng.permutation(prompts.looks[name])[:count]) for name in THIRTEEN}
    return NamePrompts({**prompts.looks, **drawn}, prompts.names)


def main():
    recipe = read_recipe(Path(sys.argv[1]))
    known = gather(recipe, Fold("looks", recipe.sets, THIRTEEN, "aid"), data_root(), print)
    found, text = asked_of(recipe, known), known.text
    figures = {"no phrase": found(replace(text, prompts=NamePrompts()).text_row)}
    for count in COUNTS:
        drawn = [found(replace(text, prompts=fewer(text.prompts, count, d)).text_row) for d in range(DRAWS)]
        figures[f"{count} phrases"] = [round(float(np.mean(drawn)), 1), round(float(np.std(drawn)), 1)]
    figures["all phrases"] = found(text.text_row)
    write_record(
        "looks", figures, seed=list(range(DRAWS)), classes=list(THIRTEEN), images=int(known.parts.unseen.sum()),
        phrases={name: len(text.prompts.looks[name]) for name in THIRTEEN},
    )  # fmt: skip


if __name__ == "__main__":
    main()
