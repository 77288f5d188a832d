"""Decorrelate the attributes after training, on the image side and on the text side alike.

Trained attributes vary most along what tells the seen concepts apart, and a cosine then prefers seen concepts to any
other: of validation images, 1 in 100 found their own name beside those of the seen concepts. With C the covariance
of an image's scores a, the scores become C^-1/2 a and a row r becomes C^1/2 r. Their product is the same as before;
their cosine divides it by the spread of each class's similarity, so that every class is measured by its own yardstick.
The symmetric root keeps every attribute as near to itself as can be.
"""

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from rszsl.model.dsva import Dsva
from rszsl.model.text import AttributeText, unit

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]


def symmetric_roots(scores: Floats, shrinkage: float) -> tuple[Floats, Floats]:
    """Give C^-1/2 and C^1/2, each (K, K), of scores (N, K); `shrinkage` times their mean variance is added to C."""
    covariance = np.cov(scores.astype("float64").T)
    size = len(covariance)
    values, vectors = np.linalg.eigh(covariance + shrinkage * np.trace(covariance) / size * np.eye(size))
    inverse = (vectors * values**-0.5) @ vectors.T
    root = (vectors * values**0.5) @ vectors.T
    return inverse.astype("float32"), root.astype("float32")


def lean_on_network(net: Dsva, text: AttributeText, scores: Floats, concept_ids: Ids, share: float) -> AttributeText:
    """Let the rows of seen concepts lean on what the decorrelated network says of their training images.

    Args:
        net: decorrelated.
        text: the side for it.
        scores: (N, K), its joint scores of the training images.
        concept_ids: (N,), which of the text's taught rows each image shows; every row has an image.
        share: what a row from the network counts, beside 1 for the row there is.
    """
    said = unit((scores - net.score_mean.numpy()) @ net.decorrelation.numpy())
    means = np.stack([said[concept_ids == row].mean(0) for row in range(len(text.taught_rows))])
    return replace(text, taught_rows=unit(text.taught_rows + share * unit(means)))


def decorrelate(net: Dsva, text: AttributeText, scores: Floats, shrinkage: float) -> AttributeText:
    """Set the network's decorrelation from its joint scores (N, K) of training images; returns the text side for it."""
    inverse, root = symmetric_roots(scores, shrinkage)
    net.score_mean.copy_(torch.from_numpy(scores.mean(0)))
    net.decorrelation.copy_(torch.from_numpy(inverse))
    return replace(
        text,
        projection=root @ text.projection,
        mean=root @ text.mean,
        taught_rows=unit(text.taught_rows @ root),
    )
