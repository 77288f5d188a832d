"""The recipe of one training run, read from TOML."""

import json
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from rszsl.errors import TrainingError
from rszsl.training.files import save_json
from rszsl.training.folds import Fold
from rszsl.training.losses import LossWeights
from rszsl.training.schedule import TuningRecipe

NOTED = "recipe.json"
"""In the work folder: the recipe that what lies there was made by."""
NO_MATTER = frozenset(
    {"path", "name", "version", "output", "record", "page", "work", "teachers", "training.device", "lists"}
)
"""Keys that say what a model is called, where things lie, on what they run, or what is only measured."""

BITS = (16, 4)
"""What a weight may have: half precision, or a ViT's matrices in groups of four bits."""


@dataclass(frozen=True, slots=True)
class Teachers:
    """Local files of what the model is taught by.

    Attributes:
        vision_tower: CLIP image tower as transformers keeps it.
        vision_cache: folder, for what it says.
        text_vectors: names with their CLIP text vectors.
        anchors: names that are known in both CLIPs' spaces.
        sentences: sentence encoder.
        word_frequencies: wordfreq's list.
        backbone_weights: of the trunk.
        vision_embeddings: file of what the tower said of the images before, if there is one.
    """

    vision_tower: Path
    vision_cache: Path
    text_vectors: Path
    anchors: Path
    sentences: Path
    word_frequencies: Path
    backbone_weights: Path
    vision_embeddings: Path | None = None


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
        network_share: what the trained network's word on a seen concept's training images counts in its row, beside 1
            for all of the above.
    """

    ridge: float
    seen_weight: float
    row_penalty: float
    image_share: float
    shrinkage: float
    network_share: float = 0.0


@dataclass(frozen=True, slots=True)
class NetworkRecipe:
    """Shape of the image side.

    Attributes:
        input_px: side of a tile.
        gsd_m: footprint of a pixel.
        embed_dim: token width.
        depth: blocks after the trunk.
        heads: of each of these.
        trunk_depth: how many of the vision tower's blocks are the trunk; 0 for EfficientNet-lite0.
        bits: 16, or 4: of a weight of the trunk's blocks and of a word, and then 8 of one that words go through.
    """

    input_px: int
    gsd_m: float
    embed_dim: int
    depth: int
    heads: int
    trunk_depth: int = 0
    bits: int = 16


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
        device: `auto`, `cpu` or `cuda`.
        direct_ridge: penalty of the direct head's weights, which are fitted last.
        loss: weights of the loss terms.
        whitening: where it is not 0, the cosines of the loss are between whitened vectors, with so many mean variances
            added to the covariance.
    """

    views: int
    epochs: int
    heads_epochs: int
    batch_size: int
    lr: float
    trunk_lr: float
    weight_decay: float
    cutmix: float
    device: str
    direct_ridge: float
    loss: LossWeights
    whitening: float = 0.0


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides the outcome of a run, beside the data.

    Attributes:
        path: of the recipe.
        name: of the model.
        version: of the model.
        seed: of all that is drawn.
        output: the model's folder.
        record: JSON file of all figures.
        page: Markdown page with the marks that their table is put between.
        work: caches and checkpoints.
        sets: folders of images under the data.
        captions: folder of captions, of which only phrases are read.
        teachers: what it is taught by.
        keep_out: share of the images that nothing learns from, to be measured on.
        folds: trainings without some concepts, which are measured, and on which the calibrator is fitted.
        concepts: folders, as `set/Folder`, by concept.
        aliases: other names of a concept.
        text: the phrase encoder.
        alignment: how images meet names.
        network: the image side.
        training: its schedule.
        lists: names, each of a concept, that the final model is asked for at once, by what they are the names of.
        tuning: the schedule of a ViT trunk, where that learns.
    """

    path: Path
    name: str
    version: str
    seed: int
    output: Path
    record: Path
    page: Path
    work: Path
    sets: tuple[str, ...]
    captions: str
    teachers: Teachers
    keep_out: float
    folds: tuple[Fold, ...]
    concepts: Mapping[str, tuple[str, ...]]
    aliases: Mapping[str, tuple[str, ...]]
    text: TextRecipe
    alignment: AlignmentRecipe
    network: NetworkRecipe
    training: TrainingRecipe
    lists: Mapping[str, tuple[str, ...]]
    tuning: TuningRecipe | None = None


def read_recipe(path: Path) -> Recipe:
    """Read a recipe.

    Raises:
        TrainingError: where it is no TOML, a key is missing, unknown or of a wrong kind, a list holds a name of no
            concept, or a value does not fit another.
    """
    raw = _read(path)
    if "like" in raw:
        raw = _merged(_read(path.parent / raw.pop("like")), raw)
    try:
        recipe = _recipe(path, raw)
    except (KeyError, TypeError) as err:
        raise TrainingError(f"the recipe {path} has a missing, unknown or wrong key: {err}") from err
    _check(recipe)
    return recipe


def _check(recipe: Recipe) -> None:
    """Look for values that do not fit each other."""
    path, sizes = recipe.path, recipe.network
    if sizes.trunk_depth and recipe.training.cutmix:
        raise TrainingError(
            f"the recipe {path} has cutmix {recipe.training.cutmix}: tokens cannot be pasted; set it to 0"
        )
    if sizes.bits not in BITS:
        raise TrainingError(f"the recipe {path} has weights of {sizes.bits} bits; choose 16 or 4")
    if recipe.tuning and (missing := sorted(set(recipe.tuning.watched) - set(recipe.concepts))):
        raise TrainingError(f"the recipe {path} watches {', '.join(missing)}: no concept")
    known = {*recipe.concepts, *chain.from_iterable(recipe.aliases.values())}
    for title, names in recipe.lists.items():
        if other := sorted(set(names) - known):
            raise TrainingError(
                f"the recipe {path} asks in the list {title} for {', '.join(other)}: no name of a concept"
            )


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as err:
        raise TrainingError(f"cannot read the recipe {path}: {err}") from err


def _merged(table: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Give a table with what another one changes in it, tables within it likewise."""
    return {**table, **{key: _merged(table[key], new) if isinstance(new, dict) and key in table else new
                        for key, new in changes.items()}}  # fmt: skip


def _recipe(path: Path, raw: Mapping[str, Any]) -> Recipe:
    return Recipe(
        path=path,
        name=raw["name"],
        version=raw["version"],
        seed=raw["seed"],
        output=Path(raw["output"]),
        record=Path(raw["record"]),
        page=Path(raw["page"]),
        work=Path(raw["work"]),
        sets=tuple(raw["data"]["sets"]),
        captions=raw["data"]["captions"],
        teachers=Teachers(**{key: Path(value) for key, value in raw["teachers"].items()}),
        keep_out=raw["data"]["keep_out"],
        folds=tuple(_fold(fold) for fold in raw["fold"]),
        concepts={name: tuple(folders) for name, folders in raw["concepts"].items()},
        aliases={name: tuple(others) for name, others in raw["aliases"].items()},
        text=TextRecipe(**raw["text"]),
        alignment=AlignmentRecipe(**raw["alignment"]),
        network=NetworkRecipe(**raw["network"]),
        training=TrainingRecipe(**{**raw["training"], "loss": LossWeights(**raw["training"]["loss"])}),
        lists={name: tuple(names) for name, names in raw.get("lists", {}).items()},
        tuning=_tuning(raw["tuning"]) if "tuning" in raw else None,
    )


def _tuning(raw: Mapping[str, Any]) -> TuningRecipe:
    return TuningRecipe(**{**raw, "watched": tuple(raw["watched"])})


def _fold(raw: Mapping[str, Any]) -> Fold:
    return Fold(raw["name"], tuple(raw["sets"]), tuple(sorted(raw["unseen"])), raw["asked"])


def claim_work(recipe: Recipe) -> None:
    """Note in the work folder which recipe it serves: nothing that was made by another is to be taken for this one's.

    A folder without such a note is taken over; what the teachers' files hold is not looked at.

    Raises:
        TrainingError: where the folder serves a recipe with other values.
    """
    file = recipe.work / NOTED
    # Through JSON, so that a tuple equals the list that is read back.
    wanted = json.loads(json.dumps(dict(_values(asdict(recipe)))))
    if not file.exists():
        save_json(file, wanted)
    noted = json.loads(file.read_text(encoding="utf-8"))
    other = sorted(key for key in noted.keys() | wanted.keys() if noted.get(key) != wanted.get(key))
    if other:
        raise TrainingError(
            f"{recipe.work} holds what a recipe with another {', '.join(other)} made: "
            f"empty it, or name another folder as `work` in {recipe.path}"
        )


def _values(table: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Give every value that decides what is trained, under its key with the tables that it lies in."""
    for key, value in table.items():
        name = above + key
        if name in NO_MATTER:
            continue
        if isinstance(value, dict) and name not in ("concepts", "aliases"):
            yield from _values(value, f"{name}.")
        else:
            yield name, value
