"""Build the data sets of a benchmark: cached features, class rows and names."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np

from rszsl.zsl.data.folders import ImageSet, data_root
from rszsl.zsl.data.layouts import read_folder, read_images
from rszsl.zsl.experiments.protocol import Dataset
from rszsl.zsl.experiments.recipe import BenchmarkRecipe, DataRecipe
from rszsl.zsl.experiments.rows import dataset_rows, name_vectors
from rszsl.zsl.problem import Features

ALIGNED_FILE, RAW_FILE = "aligned-{grid}.npy", "tokens-{grid}.npy"


def prepare(recipe: BenchmarkRecipe, log: Callable[[str], None]) -> None:
    """Make the features of every data set that has none; resumable."""
    from rszsl.model.towers.clip import load_clip
    from rszsl.zsl.towers.cache import cache_features
    from rszsl.zsl.towers.derived import derive_tokens

    for data in recipe.data:
        folder = recipe.cache / data.name
        images = list_images(data)
        tower = load_clip(recipe.tower)
        features = cache_features(tower, images.paths, folder, log=log)
        for name, aligned in ((ALIGNED_FILE, True), (RAW_FILE, False)):
            derive_tokens(features, tower.float(), folder / name.format(grid=recipe.grid), recipe.grid, aligned=aligned)


def list_images(data: DataRecipe) -> ImageSet:
    """List the images of a data set.

    Raises:
        TrainingError: where there are none, or a published set is not whole.
    """
    return read_images(Path(data.source)) if data.source else read_folder(data_root() / data.name, data.name)


@cache
def open_dataset(recipe: BenchmarkRecipe, name: str, rows: str, *, aligned: bool) -> Dataset:
    """Open one data set with one kind of class rows.

    Args:
        recipe: names the caches.
        name: of the data set.
        rows: see `dataset_rows`.
        aligned: tokens in the space of the embedding; else as the tower's last block gives them.
    """
    from rszsl.zsl.towers.cache import read_features

    images = list_images(recipe.part(name))
    kept = read_features(recipe.cache / name)
    file = (ALIGNED_FILE if aligned else RAW_FILE).format(grid=recipe.grid)
    embedding = np.asarray(kept.embeddings, dtype="float32")
    embedding /= np.linalg.norm(embedding, axis=1, keepdims=True)
    features = Features(
        embedding=embedding,
        tokens=np.load(recipe.cache / name / file, mmap_mode="r"),
        grid=recipe.grid,
        names=name_vectors(images.classes, recipe.text_vectors),
    )
    table, look = dataset_rows(images, name, rows, recipe.text_vectors, embedding)
    return Dataset(name, features, images.labels, table, look)


def data_key(recipe: BenchmarkRecipe, name: str) -> str:
    """Hash of images and tower, as the feature cache has it."""
    from rszsl.zsl.towers.cache import read_features

    return read_features(recipe.cache / name).key
