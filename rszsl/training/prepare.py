"""From knowledge to tensors: the network as it starts, the features it learns from, and the lesson."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rszsl.model.backbone import trunk_of
from rszsl.model.dsva import Dsva, Shape
from rszsl.training.decorrelate import symmetric_roots
from rszsl.training.knowledge import Knowledge
from rszsl.training.losses import Lesson
from rszsl.training.recipe import Recipe
from rszsl.training.trunk import cache_features
from rszsl.zsl.runs.weights import load_trunk_weights


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
        )
    )
    load_trunk_weights(trunk_of(net.backbone), recipe.teachers.backbone_weights)
    return net


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
