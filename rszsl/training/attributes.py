"""What the teacher says of attributes: their scores, and class rows (METHOD A). None is labelled by hand."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rszsl.model.text import unit

Floats = NDArray[np.float32]
ATTRIBUTES_SOURCE = Path(__file__).with_name("attributes.toml")
BACKGROUND_SOURCE = Path(__file__).with_name("background.txt")
PROMPTS_SOURCE = Path(__file__).with_name("prompts.toml")


@dataclass(frozen=True, slots=True, eq=False)
class AttributeScale:
    """Raw attribute scores of images to standardised ones: (s - mean) / std, each float32 (K,)."""

    mean: Floats
    std: Floats

    def __call__(self, raw: Floats) -> Floats:
        """Standardise raw scores (N, K)."""
        return np.asarray((raw - self.mean) / self.std, dtype="float32")


def fit_scale(raw: Floats) -> AttributeScale:
    """Take mean and standard deviation of raw scores (N, K)."""
    return AttributeScale(raw.mean(0), raw.std(0) + 1e-6)


def ridge_projection(attribute_vectors: Floats, penalty: float) -> Floats:
    """Coefficients (K, 512) that rebuild a text vector from the attributes' vectors (K, 512), by ridge."""
    gram = attribute_vectors @ attribute_vectors.T
    return np.asarray(np.linalg.solve(gram + penalty * np.eye(len(gram)), attribute_vectors), dtype="float32")


def class_means(scores: Floats, concept_ids: NDArray[np.int64], concepts: int) -> Floats:
    """Class rows from images (METHOD A): the mean over a concept's images, centred over concepts, unit length.

    Args:
        scores: (N, K), standardised.
        concept_ids: (N,), 0..concepts-1.
        concepts: how many.
    """
    means = np.stack([scores[concept_ids == c].mean(0) for c in range(concepts)])
    return unit(means - means.mean(0))
