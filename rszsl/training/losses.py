"""What the network is asked to do; METHOD B.6 (DSVA, arXiv 2402.02094), without its double softmax."""

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor
from torch.nn import functional

from rszsl.model.dsva import DsvaOutput


@dataclass(frozen=True, slots=True)
class LossWeights:
    """How much each term counts, and the temperature of the compatibility."""

    distillation: float
    regression: float
    direction: float
    compatibility: float
    compactness: float
    temperature: float


@dataclass(frozen=True, slots=True, eq=False)
class Lesson:
    """What is known of a batch of N images: K attributes, C seen concepts.

    Attributes:
        embedding: (N, E), the teacher's, unit length.
        embedding_mean: (E,), the teacher's mean over the training images; most of an embedding says no more than
            "a picture from above", so both are compared without it.
        attributes: (N, K), the teacher's standardised scores.
        concept: (N, C), how much of each concept an image shows; rows add up to 1.
        rows: (C, K), unit attribute rows of the concepts.
        whiten_embedding: (E, E), by which embeddings are multiplied before their cosine is taken, so that what hardly
            varies among the training images, and may tell other concepts apart, counts too; or the identity.
        whiten_attributes: (K, K), the same for attributes.
    """

    embedding: Tensor
    embedding_mean: Tensor
    attributes: Tensor
    concept: Tensor
    rows: Tensor
    whiten_embedding: Tensor
    whiten_attributes: Tensor

    def of(self, images: Tensor) -> "Lesson":
        """Pick the lesson of some images."""
        return replace(
            self, embedding=self.embedding[images], attributes=self.attributes[images], concept=self.concept[images]
        )

    def to(self, device: torch.device) -> "Lesson":
        """Bring it to a device."""
        return Lesson(*(getattr(self, part.name).to(device) for part in fields(self)))


def total_loss(out: DsvaOutput, lesson: Lesson, weights: LossWeights) -> Tensor:
    """Add up the terms."""
    heads = (out.global_scores, out.local_scores)
    regression = sum((functional.mse_loss(a, lesson.attributes) for a in heads), torch.zeros(()))
    compatibility = sum((compatibility_loss(a, lesson, weights.temperature) for a in heads), torch.zeros(()))
    said, wanted = (each - lesson.embedding_mean for each in (out.embedding, lesson.embedding))
    return (
        weights.distillation * cosine_distance(said @ lesson.whiten_embedding, wanted @ lesson.whiten_embedding)
        + weights.regression * regression
        + weights.direction
        * cosine_distance(out.attributes @ lesson.whiten_attributes, lesson.attributes @ lesson.whiten_attributes)
        + weights.compatibility * compatibility
        + weights.compactness * compactness_loss(out.maps)
    )


def cosine_distance(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean of 1 - cosine over the rows of (N, D)."""
    return (1 - functional.cosine_similarity(predicted, target, dim=-1)).mean()


def compatibility_loss(attributes: Tensor, lesson: Lesson, temperature: float) -> Tensor:
    """Cross-entropy of the cosine of attributes (N, K) and each seen concept's row, over a temperature."""
    logits = functional.normalize(attributes, dim=-1) @ lesson.rows.T / temperature
    return functional.cross_entropy(logits, lesson.concept)


def compactness_loss(maps: Tensor) -> Tensor:
    """Mean over (N, K, G, G) of sigmoid(M) times the squared distance, in patches, to the map's maximum."""
    side = maps.shape[-1]
    best = maps.flatten(2).argmax(-1)
    row, col = (best // side)[..., None, None], (best % side)[..., None, None]
    steps = torch.arange(side, device=maps.device)
    distance = (steps[:, None] - row) ** 2 + (steps[None, :] - col) ** 2
    return (torch.sigmoid(maps) * distance).mean()
