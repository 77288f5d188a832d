"""Let many unlabelled tiles speak for each other: transductive refinement of class probabilities, without labels.

As RS-TransCLIP (El Khoury et al. 2025, arXiv 2409.00698; TransCLIP, arXiv 2406.01837), written from the papers'
equations: the assignments z maximise the sum of three terms, by turns with the classes' means and variances.

- Gaussian: tiles of a class lie around one mean, with one diagonal covariance for all classes.
- Laplacian: neighbours in the graph share their class.
- Text: z stays near the prior that names (and examples) gave, by their Kullback-Leibler divergence.

The constants are the papers' own; none was fitted here.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

Floats = NDArray[np.float32]

NEIGHBOURS = 3
ROUNDS = 10
"""How often means and variances are found anew."""
STEPS = 5
"""How often the assignments are, in between."""
FIRST = 8
"""How many of its most probable tiles give a class its first mean."""
TEMPERATURE = 50.0
"""What the Gaussian log likelihood is divided by."""
LEAST_VARIANCE = 1e-6
LEAST_PRIOR = 1e-30


def refine(vectors: Floats, prior: Floats, graph: "csr_matrix[np.float32]", neighbours: int = NEIGHBOURS) -> Floats:
    """Refine the class probabilities of N tiles by each other.

    Args:
        vectors: float32 (N, D), unit rows.
        prior: float32 (N, C), what each tile says alone, rows that sum to 1; a 0 stays 0.
        graph: of the tiles, as `neighbour_graph` gives it.
        neighbours: that the graph was made with.

    Returns:
        float32 (N, C), rows that sum to 1.
    """
    text = np.log(np.maximum(prior, LEAST_PRIOR))
    squares = vectors**2
    posterior = prior
    means = _first_means(vectors, prior)
    variance = np.full(vectors.shape[1], 1 / vectors.shape[1], dtype="float32")
    pull = graph / np.float32(neighbours)
    for step in range(ROUNDS + 1):
        likelihood = _log_likelihood(vectors, squares, means, variance) / TEMPERATURE
        for _ in range(STEPS):
            posterior = softmax(likelihood + pull @ posterior + text)
        if step < ROUNDS:
            means, variance = _moments(vectors, squares, posterior, means)
    return posterior


def presence_prior(confidence: Floats, min_confidence: float) -> Floats:
    """Share each tile among the classes that it may show, by their odds.

    Args:
        confidence: float32 (N, C), presence probabilities.
        min_confidence: 0..1; a class below gets nothing, unless it is the tile's best.

    Returns:
        float32 (N, C), rows that sum to 1.
    """
    best = confidence.max(axis=1, keepdims=True)
    sure = np.clip(confidence, 1e-6, 1 - 1e-6)
    logit = np.log(sure / (1 - sure))
    return softmax(np.where(confidence >= np.minimum(best, min_confidence), logit, -np.inf))


def softmax(logits: NDArray[np.floating]) -> Floats:
    """Turn logits (N, C) into probabilities (N, C) whose rows sum to 1."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), dtype="float32")


def _first_means(vectors: Floats, prior: Floats) -> Floats:
    """Weighted means of the `FIRST` most probable tiles of each class: (C, D), unit rows."""
    order = np.argsort(-prior, axis=0, kind="stable")[:FIRST]
    weights = np.take_along_axis(prior, order, axis=0)
    return _unit(np.einsum("nc,ncd->cd", weights, vectors[order]))


def _log_likelihood(vectors: Floats, squares: Floats, means: Floats, variance: Floats) -> Floats:
    """Gaussian log likelihood (N, C), less what is the same for all classes."""
    inverse = 1 / variance
    far = (squares @ inverse)[:, None] - 2 * (vectors @ (means * inverse).T) + (means**2) @ inverse
    return np.asarray(-0.5 * far, dtype="float32")


def _moments(vectors: Floats, squares: Floats, posterior: Floats, before: Floats) -> tuple[Floats, Floats]:
    """Means (C, D) on the unit sphere and shared variances (D,); a class that no tile has keeps its mean."""
    weight = posterior.sum(axis=0)
    sums = posterior.T @ vectors
    means = np.where(weight[:, None] > LEAST_VARIANCE, _unit(sums), before)
    spread = squares.sum(axis=0) - 2 * (means * sums).sum(axis=0) + weight @ means**2
    return means, np.maximum(spread / len(vectors), LEAST_VARIANCE).astype("float32")


def _unit(rows: NDArray[np.floating]) -> Floats:
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(length, 1e-12), dtype="float32")
