"""The recipe of one training run, read from TOML."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rszsl.errors import TrainingError
from rszsl.training.losses import LossWeights


@dataclass(frozen=True, slots=True)
class Teachers:
    """Local files of what the model is taught by."""

    vision_tower: Path
    vision_cache: Path
    text_vectors: Path
    sentences: Path
    word_frequencies: Path
    backbone_weights: Path


@dataclass(frozen=True, slots=True)
class SplitRecipe:
    """How many concepts stay unseen, and which names never do."""

    test: int
    validation: int
    seen_holdout: float
    everyday: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TextRecipe:
    """Sizes of the phrase encoder: frequent words, n-gram buckets, width, hidden width; passes over the phrases."""

    words: int
    grams: int
    width: int
    hidden: int
    epochs: int


@dataclass(frozen=True, slots=True)
class AlignmentRecipe:
    """How images meet names.

    Attributes:
        ridge: penalty of the bridge from the teacher's space to the text space.
        seen_weight: what a seen concept counts in the bridge, beside 1 for a name known in both spaces.
        row_penalty: penalty of the coefficients that rebuild a name from the attributes.
        image_share: what a seen concept's row from images counts in its row, beside 1 for its row from text.
        shrinkage: what is added to the attributes' covariance before they are decorrelated, in mean variances.
    """

    ridge: float
    seen_weight: float
    row_penalty: float
    image_share: float
    shrinkage: float


@dataclass(frozen=True, slots=True)
class NetworkRecipe:
    """Shape of the image side: input side in pixels, the footprint of one, token width, blocks, heads."""

    input_px: int
    gsd_m: float
    embed_dim: int
    depth: int
    heads: int


@dataclass(frozen=True, slots=True)
class TrainingRecipe:
    """How the network is trained.

    Attributes:
        views: how many augmented copies of an image are kept in the cache.
        epochs: passes over the training images, one view of each a pass.
        heads_epochs: how many of them leave the trunk alone.
        batch_size: images a step.
        lr: peak learning rate of transformer and heads.
        trunk_lr: peak learning rate of the trunk's upper part.
        weight_decay: of AdamW.
        cutmix: share of steps whose images are pasted into each other.
        loss: weights of the loss terms.
    """

    views: int
    epochs: int
    heads_epochs: int
    batch_size: int
    lr: float
    trunk_lr: float
    weight_decay: float
    cutmix: float
    loss: LossWeights


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides the outcome of a run, beside the data."""

    path: Path
    name: str
    version: str
    seed: int
    output: Path
    work: Path
    sets: tuple[str, ...]
    image_limit: int
    captions: str
    teachers: Teachers
    split: SplitRecipe
    concepts: Mapping[str, tuple[str, ...]]
    aliases: Mapping[str, tuple[str, ...]]
    text: TextRecipe
    alignment: AlignmentRecipe
    network: NetworkRecipe
    training: TrainingRecipe


def read_recipe(path: Path) -> Recipe:
    """Read a recipe.

    Raises:
        TrainingError: where it is no TOML, or a key is missing, unknown or of a wrong kind.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as err:
        raise TrainingError(f"cannot read the recipe {path}: {err}") from err
    try:
        return _recipe(path, raw)
    except (KeyError, TypeError) as err:
        raise TrainingError(f"the recipe {path} has a missing, unknown or wrong key: {err}") from err


def _recipe(path: Path, raw: Mapping[str, Any]) -> Recipe:
    split = {**raw["split"], "everyday": tuple(raw["split"]["everyday"])}
    return Recipe(
        path=path,
        name=raw["name"],
        version=raw["version"],
        seed=raw["seed"],
        output=Path(raw["output"]),
        work=Path(raw["work"]),
        sets=tuple(raw["data"]["sets"]),
        image_limit=raw["data"]["image_limit"],
        captions=raw["data"]["captions"],
        teachers=Teachers(**{key: Path(value) for key, value in raw["teachers"].items()}),
        split=SplitRecipe(**split),
        concepts={name: tuple(folders) for name, folders in raw["concepts"].items()},
        aliases={name: tuple(others) for name, others in raw["aliases"].items()},
        text=TextRecipe(**raw["text"]),
        alignment=AlignmentRecipe(**raw["alignment"]),
        network=NetworkRecipe(**raw["network"]),
        training=TrainingRecipe(**{**raw["training"], "loss": LossWeights(**raw["training"]["loss"])}),
    )
