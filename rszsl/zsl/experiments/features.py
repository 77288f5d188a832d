"""Build the data sets of a benchmark: cached features, class rows and names."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rszsl.errors import TrainingError
from rszsl.zsl.data.folders import ImageSet, data_root
from rszsl.zsl.data.layouts import read_folder, read_images
from rszsl.zsl.experiments.protocol import Dataset
from rszsl.zsl.experiments.recipe import BenchmarkRecipe, DataRecipe
from rszsl.zsl.problem import ClassTable, Features, Floats

if TYPE_CHECKING:
    from rszsl.model.text import PhraseEncoder

TEXT_RIDGE = 0.3
"""Penalty of the coefficients that rebuild a name from attributes, as in the recipe of the bundled model."""
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
        rows: see `class_rows`.
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
    return Dataset(name, features, images.labels, class_rows(images, name, rows, recipe.text_vectors))


def data_key(recipe: BenchmarkRecipe, name: str) -> str:
    """Hash of images and tower, as the feature cache has it."""
    from rszsl.zsl.towers.cache import read_features

    return read_features(recipe.cache / name).key


def name_vectors(phrases: tuple[str, ...], text_vectors: Path) -> Floats:
    """Give vectors of phrases in the space of the tower's embedding: float32 (n, E)."""
    from rszsl.zsl.rows.bridge import bridge_names

    return bridge_names(phrases, text_vectors, phrase_encoder())


@cache
def phrase_encoder() -> "PhraseEncoder":
    """The bundled model's text side, for phrases that have no vector of their own."""
    from rszsl.model.bundle import DsvaModel
    from rszsl.model.checkpoint import load_model

    model = load_model(device="cpu")
    assert isinstance(model, DsvaModel)
    return model.text.encoder


def class_rows(images: ImageSet, table: str, kind: str, text_vectors: Path | None) -> ClassTable:
    """Give the rows of all classes of a set, with where their attributes' words lie.

    Args:
        images: name the classes.
        table: which human table, by the name of its data set.
        kind: `human`; `text`, names against a vocabulary of attributes; `table:FILE.csv`, the user's own; or some of
            them side by side, as `human+text`.
        text_vectors: table of text vectors; None: the bundled text side reads all names, and no anchors are known.

    Raises:
        TrainingError: for an unknown kind.
    """
    from rszsl.zsl.rows.combine import combine_rows
    from rszsl.zsl.rows.common import attribute_words
    from rszsl.zsl.rows.human import human_rows
    from rszsl.zsl.rows.table import table_rows
    from rszsl.zsl.rows.textual import bundled_text, table_text, textual_rows
    from rszsl.zsl.rows.vocabulary import bundled_attributes

    tables, words = [], []
    for part in kind.split("+"):
        if part == "human":
            tables.append(human_rows(images.classes, table, data_root() / "attributes"))
            words += [attribute_words(name) for name in tables[-1].attributes]
        elif part.startswith("table:"):
            tables.append(table_rows(images.classes, Path(part.removeprefix("table:"))))
            words += [attribute_words(name) for name in tables[-1].attributes]
        elif part == "text":
            vocabulary = bundled_attributes()
            text = table_text(text_vectors, phrase_encoder()) if text_vectors else bundled_text()
            tables.append(textual_rows(images.classes, vocabulary, text, ridge=TEXT_RIDGE))
            words += [attribute.phrase for attribute in vocabulary]
        else:
            raise TrainingError(
                f"no class rows of kind {kind!r}; there are human, text, table:FILE.csv, and such as human+text"
            )
    rows = tables[0] if len(tables) == 1 else combine_rows(tables)
    return replace(rows, anchors=name_vectors(tuple(words), text_vectors)) if text_vectors else rows
