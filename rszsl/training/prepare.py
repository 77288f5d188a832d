"""From knowledge to tensors: the network as it starts, the features it learns from, and the lesson."""

from collections.abc import Callable
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor

from rszsl.model.backbone import trunk_of
from rszsl.model.dsva import Dsva, Shape
from rszsl.model.packing import NIBBLE
from rszsl.model.vit import VitTrunk
from rszsl.training.clip_trunk import load_clip_trunk, settle_trunk
from rszsl.training.data import list_images
from rszsl.training.decorrelate import symmetric_roots
from rszsl.training.folds import Fold, concept_of_images, part_images
from rszsl.training.knowledge import Knowledge, gather
from rszsl.training.losses import Lesson
from rszsl.training.recipe import Recipe
from rszsl.training.schedule import TuningRecipe
from rszsl.training.squeeze import squeeze_trunk
from rszsl.training.trunk import cache_features, plain_pixels
from rszsl.training.tune import Tower, fit_readout, nearness, tune_trunk
from rszsl.zsl.runs.weights import load_trunk_weights

TRUNK_FILE, TUNED_FILE = "trunk.safetensors", "tuned.pt"
COMMON = "common"
WATCHED_BY = 100
"""Images, of each kind, by which the log says how near a trunk comes to the teacher."""
SQUEEZED_BY = 512
"""Images whose tokens decide how the weights of a ViT trunk are rounded."""


def build_network(recipe: Recipe, attributes: int, embedding_dim: int) -> Dsva:
    """Build the network with the trunk's initial weights and the recipe's seed."""
    torch.manual_seed(recipe.seed)
    sizes = recipe.network
    net = Dsva(
        Shape(
            input_px=sizes.input_px,
            attributes=attributes,
            embed_dim=sizes.embed_dim,
            depth=sizes.depth,
            heads=sizes.heads,
            embedding_dim=embedding_dim,
            direct=1,
            trunk_depth=sizes.trunk_depth,
        )
    )
    trunk = trunk_of(net.backbone)
    if isinstance(trunk, VitTrunk):
        trunk.load_state_dict(load_file(recipe.work / TRUNK_FILE))
    else:
        load_trunk_weights(trunk, recipe.teachers.backbone_weights)
    return net


def prepare_trunk(recipe: Recipe, data: Path, log: Callable[[str], None]) -> None:
    """Make the weights of a ViT trunk, unless an earlier run did; they serve all folds.

    It is trained where the recipe has a schedule for it, and then rounded to the bits that it is to have. Both go by
    images that every fold learns from.
    """
    sizes, file = recipe.network, recipe.work / TRUNK_FILE
    if not sizes.trunk_depth or file.exists():
        return
    trunk = VitTrunk(sizes.input_px, sizes.trunk_depth).eval()
    projection = load_clip_trunk(trunk, recipe.teachers.vision_tower)
    if recipe.tuning:
        _tune(recipe, recipe.tuning, trunk, projection, data, log)
    if sizes.bits == NIBBLE:
        images = list_images(data, recipe.sets)
        concepts = np.array(concept_of_images(images, recipe.concepts))
        parts = [part_images(fold, images, concepts, recipe.keep_out, recipe.seed) for fold in recipe.folds]
        common = np.flatnonzero(np.logical_and.reduce([part.train for part in parts]))
        drawn = np.random.default_rng(recipe.seed).permutation(common)[:SQUEEZED_BY]
        squeeze_trunk(trunk, [plain_pixels([images[i]], sizes.input_px, vit=True) for i in drawn], log)
        settle_trunk(trunk)
    save_file({name: value.contiguous() for name, value in trunk.state_dict().items()}, file)


def common_fold(recipe: Recipe) -> Fold:
    """Give the fold that learns from what every fold of the recipe learns from, but for the watched concepts."""
    unseen = set(chain.from_iterable(fold.unseen for fold in recipe.folds))
    unseen |= set(recipe.tuning.watched if recipe.tuning else ())
    sets = (name for name in recipe.sets if all(name in fold.sets for fold in recipe.folds))
    return Fold(COMMON, tuple(sets), tuple(sorted(unseen)), "")


def _tune(
    recipe: Recipe, how: TuningRecipe, trunk: VitTrunk, projection: Tensor, data: Path, log: Callable[[str], None]
) -> None:
    known, side_px = gather(recipe, common_fold(recipe), data, log), recipe.network.input_px
    train = known.parts.train
    tower = Tower(trunk, projection, fit_readout(known.embeddings[train], known.scores[train]))
    mean = known.embeddings[train].mean(0)

    def watch() -> str:
        kept_out = np.flatnonzero(known.parts.kept_out)
        watched = np.flatnonzero(np.isin(known.concepts, how.watched))
        near = [_nearness(tower, known, rows, mean, side_px, recipe.seed) for rows in (kept_out, watched)]
        return "cosine to the teacher: kept-out images {:.4f}, watched concepts {:.4f}".format(*near)

    tune_trunk(
        tower, [image for image, wanted in zip(known.images, train, strict=True) if wanted],
        build_lesson(known, recipe.training.whitening), how, recipe.training.loss,
        side_px=side_px, seed=recipe.seed, file=recipe.work / TUNED_FILE, watch=watch, log=log,
    )  # fmt: skip


def _nearness(
    tower: Tower, known: Knowledge, rows: NDArray[np.int64], mean: NDArray[np.float32], side_px: int, seed: int
) -> float:
    drawn = np.random.default_rng(seed).permutation(rows)[:WATCHED_BY]
    return nearness(tower, [known.images[i] for i in drawn], known.embeddings[drawn], mean, side_px)


def build_features(recipe: Recipe, known: Knowledge, log: Callable[[str], None]) -> Tensor:
    """Run the lower trunk over views of all images, whatever the fold, or read what was kept: (N, V, C, G, G)."""
    side_px = recipe.network.input_px
    trunk = trunk_of(build_network(recipe, 1, 1).backbone)
    file = recipe.work / f"features-{side_px}.npy"
    return cache_features(known.images, trunk, side_px, recipe.training.views, recipe.seed, file, log)


def build_lesson(known: Knowledge, whitening: float = 0.0) -> Lesson:
    """Collect the teacher's word on the training images; `whitening` is the recipe's."""
    train = known.parts.train
    return Lesson(
        embedding=torch.from_numpy(known.embeddings[train]),
        embedding_mean=torch.from_numpy(known.embeddings[train].mean(0)),
        attributes=torch.from_numpy(known.scores[train]),
        concept=torch.eye(len(known.seen))[known.concept_ids(train)],
        rows=torch.from_numpy(known.image_rows),
        whiten_embedding=_whitening(known.embeddings[train], whitening),
        whiten_attributes=_whitening(known.scores[train], whitening),
    )


def _whitening(vectors: NDArray[np.float32], shrinkage: float) -> Tensor:
    return torch.from_numpy(symmetric_roots(vectors, shrinkage)[0]) if shrinkage else torch.eye(vectors.shape[1])
