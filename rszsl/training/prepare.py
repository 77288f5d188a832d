"""From knowledge to tensors: features of the lower trunk, cached, and the lesson of the training images."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rszsl.model.backbone import trunk_of
from rszsl.model.dsva import Dsva, Shape
from rszsl.training.files import save_torch
from rszsl.training.knowledge import Flags, Knowledge
from rszsl.training.losses import Lesson
from rszsl.training.recipe import Recipe
from rszsl.training.train import TrainingSet
from rszsl.training.trunk import cache_features
from rszsl.zsl.runs.weights import load_trunk_weights


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """Lower trunk features, float16: of the training images' views, and of every other image as it is.

    Attributes:
        train: (T, V, C, G, G), in the order of the training images.
        rest: (N - T, C, G, G), in the order of the other images.
    """

    train: Tensor
    rest: Tensor


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
        )
    )
    load_trunk_weights(trunk_of(net.backbone), recipe.teachers.backbone_weights)
    return net


def build_features(recipe: Recipe, known: Knowledge, net: Dsva, log: Callable[[str], None]) -> Features:
    """Run the lower trunk over all images, or read what was kept for as many images."""
    file = recipe.work / f"features-{len(known.images)}.pt"
    if file.exists():
        kept = torch.load(file, weights_only=True)
        return Features(kept["train"], kept["rest"])
    trunk, side = trunk_of(net.backbone), recipe.network.input_px
    learnt = [i for i, used in zip(known.images, known.train, strict=True) if used]
    others = [i for i, used in zip(known.images, known.train, strict=True) if not used]
    train = cache_features(learnt, trunk, side, recipe.training.views, recipe.seed)
    log(f"features: {len(learnt)} training images")
    rest = cache_features(others, trunk, side, 1, recipe.seed)[:, 0].clone()
    log(f"features: {len(others)} other images")
    save_torch(file, {"train": train, "rest": rest})
    return Features(train, rest)


def build_training_set(known: Knowledge, features: Features) -> TrainingSet:
    """Join features and the teacher's word on the training images."""
    ids = {name: row for row, name in enumerate(known.split.seen)}
    lesson = Lesson(
        embedding=torch.from_numpy(known.embeddings[known.train]),
        embedding_mean=torch.from_numpy(known.embeddings[known.train].mean(0)),
        attributes=torch.from_numpy(known.scores[known.train]),
        concept=torch.eye(len(ids))[[ids[c] for c in known.concepts[known.train].tolist()]],
        rows=torch.from_numpy(known.image_rows),
    )
    return TrainingSet(features.train, lesson)


def rest_features(known: Knowledge, features: Features, wanted: Flags) -> Tensor:
    """Pick the features of images that are not trained on; `wanted` is (N,), over all images."""
    return features.rest[torch.from_numpy(np.flatnonzero(wanted[~known.train]))]
