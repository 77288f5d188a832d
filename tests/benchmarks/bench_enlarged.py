"""What enlarging costs: python tests/benchmarks/bench_enlarged.py RECIPE

Images that the recipe kept out are shown whole, and as central parts that are enlarged to the model's input, as tiles
of a scene are that is coarser than the model expects; all taught names in one list, the model of the recipe's `output`.
Writes docs/benchmarks/enlarged.json; per cent, mean over the concepts, for the sets whose images are smaller than the
model's input or hardly larger.
"""

import sys
from pathlib import Path

import numpy as np
from bench_names import images_kept_out
from PIL import Image
from record import write_record

from rszsl.model.checkpoint import load_model
from rszsl.training.recipe import read_recipe
from rszsl.training.trunk import read_square
from rszsl.zsl.data.folders import data_root
from rszsl.zsl.metrics import class_accuracy

SETS, TEXTURES = ("aid", "rsscn7"), ("bare land", "desert", "farmland", "forest", "meadow", "mountain")
"""`TEXTURES` look the same in a part and in the whole, so that a part is no other place."""
TIMES, BATCH = (1.07, 1.25, 1.5, 2.0, 3.0), 32
"""How many times an image's pixels are enlarged; AID's, of 150 px, are by 1.07 where they are shown whole."""


def central(path, times, side_px):
    """The central part of an image that is enlarged so many times: uint8 (3, side_px, side_px)."""
    image = read_square(path)
    part = min(1, side_px / times / image.width) * image.width
    edge = (image.width - part) / 2
    box = (edge, edge, edge + part, edge + part)
    return np.asarray(image.resize((side_px, side_px), Image.Resampling.BICUBIC, box=box)).transpose(2, 0, 1)


def measure(recipe):
    """The model, the images, and per cent by set and by how many times its images are enlarged."""
    images, concepts = images_kept_out(recipe)
    model = load_model(str(recipe.output), device="cpu")
    names = sorted(recipe.concepts)
    rows = np.stack([model.text.phrase_row(name) for name in names])
    found = {}
    for set_name in SETS:
        of_set = [i for i, image in enumerate(images) if image.set_name == set_name]
        truth = concepts[of_set]
        alike = np.isin(truth, TEXTURES)
        for times in TIMES:
            shown = np.stack([central(images[i].path, times, model.card.input_px) for i in of_set])
            parts = [model.encode(shown[start : start + BATCH]).attributes for start in range(0, len(shown), BATCH)]
            cosines = np.concatenate(parts) @ rows.T
            found[f"{set_name}, enlarged {times:g} times"] = {
                "all": round(100 * class_accuracy(cosines, names, truth), 1),
                "textures": round(100 * class_accuracy(cosines[alike], names, truth[alike]), 1),
            }
    return f"{model.card.name} {model.card.version}", images, found


if __name__ == "__main__":
    recipe = read_recipe(Path(sys.argv[1]))
    model, images, figures = measure(recipe)
    files = [image.path for image in images]
    write_record("enlarged", figures, seed=recipe.seed, files=files, root=data_root(), model=model)
