"""From a recipe to what is trained: images, classes, rows, tower."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rszsl.errors import TrainingError
from rszsl.model.towers.build import build_tower
from rszsl.model.towers.hub import TowerOrigin, load_tower
from rszsl.model.towers.timm import TimmTower, build_timm
from rszsl.model.towers.tower import Tower
from rszsl.zsl.data.check import leave_out, read_leave_out, readable
from rszsl.zsl.data.folders import ImageSet, data_root
from rszsl.zsl.data.layouts import layouts, read_images
from rszsl.zsl.data.splits import ClassSplit, ImageSplit, draw_classes, draw_images, read_split
from rszsl.zsl.experiments.rows import class_rows
from rszsl.zsl.problem import ClassTable
from rszsl.zsl.rows.common import check_rows
from rszsl.zsl.runs.recipe import TowerPart, TrainRecipe


@dataclass(frozen=True, slots=True, eq=False)
class Material:
    """What a training is made of.

    Attributes:
        images: that can be read.
        classes: which are seen.
        parts: which images are learnt from, chosen on and tested on.
        table: rows of all classes.
        truth: int64 (N,), row of each image's class.
    """

    images: ImageSet
    classes: ClassSplit
    parts: ImageSplit
    table: ClassTable
    truth: NDArray[np.int64]

    def rows_of(self, names: tuple[str, ...]) -> NDArray[np.int64]:
        """Give sorted rows of some classes."""
        return np.sort(np.array([self.table.names.index(name) for name in names], dtype="int64"))


def gather(recipe: TrainRecipe, log: Callable[[str], None]) -> Material:
    """Read images, split and rows.

    Raises:
        TrainingError: where a class has no row, a row no images, or the split does not fit the classes.
    """
    source = recipe.data.source
    known = source in layouts()
    images = read_images(data_root() / source if known else Path(source), source if known else None)
    if recipe.data.leave_out:
        images = leave_out(images, read_leave_out(Path(recipe.data.leave_out)))
    images, check = readable(images)
    log(str(check))
    split = recipe.split
    classes = (
        read_split(Path(split.file), images.classes, split.seed)
        if split.file
        else draw_classes(images.classes, split.seen, split.unseen, split.seed)
    )
    wanted = (*classes.seen, *classes.unseen)
    images = images.take([i for i, label in enumerate(images.labels) if label in wanted])
    parts = draw_images(images.labels, classes, split.seed, images.parts)
    table = _rows(recipe, images)
    check_rows(table, images.classes)
    truth = np.array([table.names.index(label) for label in images.labels], dtype="int64")
    return Material(images, classes, parts, table, truth)


def _rows(recipe: TrainRecipe, images: ImageSet) -> ClassTable:
    part = recipe.rows
    if part.kind == "table":
        from rszsl.zsl.rows.table import table_rows

        return table_rows(images.classes, Path(part.table))
    vectors = Path(part.text_vectors) if part.text_vectors else None
    return class_rows(images, part.table or images.name, part.kind, vectors)


def start_tower(part: TowerPart) -> tuple[Tower, TowerOrigin | None]:
    """Build the tower with its initial weights; with where it comes from, if from elsewhere.

    Raises:
        TrainingError: where the weights cannot be read or do not fit.
        ModelError: where there is no such tower.
    """
    if part.kind == "hub":
        return load_tower(part.name, trust_pickle=part.trust_pickle)
    if part.kind not in ("timm", "hybrid"):
        raise TrainingError(f"[tower] kind {part.kind!r} is unknown; there are timm, hybrid and hub")
    config = {
        "kind": part.kind, "name": part.name, "input_px": part.input_px,
        "embed_dim": part.embed_dim, "depth": part.depth, "heads": part.heads,
    }  # fmt: skip
    if part.weights == "timm":
        return build_timm(config, pretrained=True), None
    tower = build_tower(config)
    assert isinstance(tower, TimmTower)
    if part.weights:
        _load_weights(tower, part)
    return tower, None


def _load_weights(tower: TimmTower, part: TowerPart) -> None:
    from rszsl.model.backbone import trunk_of
    from rszsl.zsl.runs.weights import load_trunk_weights, load_vit_weights

    try:
        if part.kind == "hybrid":
            load_trunk_weights(trunk_of(tower.model), Path(part.weights))
        else:
            load_vit_weights(tower.model, Path(part.weights))
    except (OSError, RuntimeError, KeyError) as err:
        raise TrainingError(f"cannot take the weights {part.weights} ({err}); they are of another model") from err


def without_anchors(recipe: TrainRecipe, table: ClassTable, tower: Tower) -> tuple[TrainRecipe, ClassTable]:
    """Drop text anchors where the tower's tokens do not lie in the text's space."""
    anchors = table.anchors
    if anchors is not None and tower.spec.embedding_dim == anchors.shape[1]:
        return recipe, table
    return replace(recipe, dsva=replace(recipe.dsva, anchored=False, anchor=0.0)), replace(table, anchors=None)
