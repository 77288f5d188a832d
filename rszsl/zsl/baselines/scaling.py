"""Embeddings as a linear method wants them; what they are scaled by comes from the images to learn from, only."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rszsl.errors import TrainingError
from rszsl.zsl.problem import Floats, Indices, Problem

Scaling = Literal["unit", "centred", "standard"]


def scaled(problem: Problem, ask: Indices, scaling: Scaling) -> tuple[Floats, Floats]:
    """Scale the embeddings of the images to learn from and of those to score.

    Args:
        problem: whose `fit` the mean and the deviation are of.
        ask: int64 (m,), the images to score.
        scaling: `unit` as they are; `centred` less their mean, of unit length again; `standard` less their mean and
            divided by their deviation, dimension by dimension.

    Returns:
        float32 (n, E) and (m, E).

    Raises:
        TrainingError: where an embedding is not finite.
    """
    learn, asked = problem.features.embedding[problem.fit], problem.features.embedding[ask]
    if not (np.isfinite(learn).all() and np.isfinite(asked).all()):
        raise TrainingError("the embeddings hold values that are not finite; make the feature cache again")
    if scaling == "unit":
        return learn, asked
    mean = learn.mean(axis=0)
    learn, asked = learn - mean, asked - mean
    if scaling == "centred":
        return unit(learn), unit(asked)
    deviation = np.maximum(learn.std(axis=0), 1e-6)
    return learn / deviation, asked / deviation


def unit(rows: Floats) -> Floats:
    """Scale rows (n, D) to unit length; rows of zeros stay zero."""
    length: Floats = np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-12)
    return rows / length


def seen_positions(problem: Problem) -> NDArray[np.int64]:
    """Give int64 (n,), the place in `problem.seen` of the class of each image to learn from."""
    return np.searchsorted(problem.seen, problem.labels[problem.fit])


def spectrum(features: Floats) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Decompose the Gram matrix X'X of (n, E): float64 eigenvalues (E,), none below 0, and vectors (E, E).

    One decomposition serves a whole grid of ridges.
    """
    wide = features.astype("float64")
    values, vectors = np.linalg.eigh(wide.T @ wide)
    return np.maximum(values, 0.0), vectors
