"""Build the data sets of a benchmark: cached features, class rows and names."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from rszsl.errors import TrainingError
from rszsl.zsl.data.folders import ImageSet, data_root
from rszsl.zsl.data.layouts import read_folder
from rszsl.zsl.experiments.protocol import Dataset
from rszsl.zsl.experiments.recipe import BenchmarkRecipe
from rszsl.zsl.problem import ClassTable, Features, Floats

ALIGNED_FILE, RAW_FILE = "aligned-{grid}.npy", "tokens-{grid}.npy"


def prepare(recipe: BenchmarkRecipe, log: Callable[[str], None]) -> None:
    """Make the features of every data set that has none; resumable."""
    from rszsl.zsl.towers.cache import cache_features
    from rszsl.zsl.towers.clip import load_clip
    from rszsl.zsl.towers.derived import derive_tokens

    for data in recipe.data:
        folder = recipe.cache / data.name
        images = read_folder(data_root() / data.name, data.name)
        tower = load_clip(recipe.tower)
        features = cache_features(tower, images.paths, folder, log=log)
        for name, aligned in ((ALIGNED_FILE, True), (RAW_FILE, False)):
            derive_tokens(features, tower.float(), folder / name.format(grid=recipe.grid), recipe.grid, aligned=aligned)


def open_dataset(recipe: BenchmarkRecipe, name: str, rows: str, *, aligned: bool) -> Dataset:
    """Open one data set with one kind of class rows.

    Args:
        recipe: names the caches.
        name: of the data set.
        rows: `human`, `text`, `human+text` or `names`.
        aligned: tokens in the space of the embedding; else as the tower's last block gives them.
    """
    from rszsl.zsl.towers.cache import read_features

    images = read_folder(data_root() / name, name)
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
    return Dataset(name, features, images.labels, class_rows(images, name, rows, recipe.text_vectors))


def data_key(recipe: BenchmarkRecipe, name: str) -> str:
    """Hash of images and tower, as the feature cache has it."""
    from rszsl.zsl.towers.cache import read_features

    return read_features(recipe.cache / name).key


def name_vectors(phrases: tuple[str, ...], text_vectors: Path) -> Floats:
    """Give vectors of phrases in the space of the tower's embedding: float32 (n, E)."""
    from rszsl.model.checkpoint import load_model
    from rszsl.zsl.rows.bridge import bridge_names

    return bridge_names(phrases, text_vectors, load_model(device="cpu").text.encoder)


def class_rows(images: ImageSet, table: str, kind: str, text_vectors: Path) -> ClassTable:
    """Give the rows of all classes of a set, with where their attributes' words lie.

    Raises:
        TrainingError: for an unknown kind.
    """
    from rszsl.zsl.rows.combine import combine_rows
    from rszsl.zsl.rows.common import attribute_words
    from rszsl.zsl.rows.human import human_rows
    from rszsl.zsl.rows.textual import text_rows

    def human() -> ClassTable:
        rows = human_rows(images.classes, table, data_root() / "attributes")
        words = tuple(attribute_words(name) for name in rows.attributes)
        return replace(rows, anchors=name_vectors(words, text_vectors))

    def text() -> ClassTable:
        rows, phrases = text_rows(images.classes, text_vectors)
        return replace(rows, anchors=name_vectors(phrases, text_vectors))

    if kind == "human":
        return human()
    if kind == "text":
        return text()
    if kind == "human+text":
        return combine_rows(human(), text())
    raise TrainingError(f"no class rows of kind {kind!r}; there are human, text and human+text")
