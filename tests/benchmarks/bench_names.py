"""How well taught concepts are found by other spellings of their names: python tests/benchmarks/bench_names.py RECIPE

Images that the recipe kept out, the model of its `output`, all taught names in one list. Writes
docs/benchmarks/names.json; per cent, mean over the concepts.
"""

import sys
from pathlib import Path

import numpy as np
from record import write_record

from rszsl.model.checkpoint import load_model
from rszsl.training.data import list_images
from rszsl.training.folds import Fold, concept_of_images, part_images
from rszsl.training.recipe import read_recipe
from rszsl.training.run import FINAL, encode_images
from rszsl.zsl.data.folders import data_root
from rszsl.zsl.metrics import class_accuracy


def plural(name):
    """The English plural, well enough for names of places."""
    if name.endswith(("s", "land", "residential")):
        return name
    if name.endswith("y"):
        return f"{name[:-1]}ies"
    return name + ("es" if name.endswith(("ch", "sh", "x")) else "s")


def camel(name):
    """As folders of data sets are called: `railwayStation`."""
    first, *others = name.split()
    return first + "".join(word.capitalize() for word in others)


SPELLINGS = {
    "as it is": lambda name: name,
    "plural": plural,
    "with an article": lambda name: f"the {name}",
    "run together": lambda name: name.replace(" ", ""),
    "camel case": camel,
    "underscores": lambda name: name.replace(" ", "_"),
}


def images_kept_out(recipe):
    """The images that no model of a recipe learnt from, and the concept of each."""
    images = list_images(data_root(), recipe.sets)
    concepts = np.array(concept_of_images(images, recipe.concepts))
    kept_out = part_images(Fold(FINAL, recipe.sets, ()), images, concepts, recipe.keep_out, recipe.seed).kept_out
    return [images[i] for i in np.flatnonzero(kept_out)], concepts[kept_out]


def measure(recipe):
    """The model, the images, and per cent by spelling."""
    images, concepts = images_kept_out(recipe)
    model = load_model(str(recipe.output), device="cpu")
    said = encode_images(model, images)
    names, found = sorted(recipe.concepts), {}
    for spelling, spelt in SPELLINGS.items():
        rows = np.stack([model.text.phrase_row(spelt(name)) for name in names])
        found[spelling] = round(100 * class_accuracy(said @ rows.T, names, concepts), 1)
    return f"{model.card.name} {model.card.version}", images, found


if __name__ == "__main__":
    recipe = read_recipe(Path(sys.argv[1]))
    model, images, figures = measure(recipe)
    files = [image.path for image in images]
    write_record("names", figures, seed=recipe.seed, files=files, root=data_root(), model=model)
