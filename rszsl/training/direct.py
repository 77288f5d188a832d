"""Fit the direct head in closed form, once the rest of the network is trained (docs/decisions/0045)."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

Floats = NDArray[np.float32]
LEAST_SPREAD = 1e-6


@torch.no_grad()
def fit_direct(head: nn.Linear, features: Floats, scores: Floats, ridge: float) -> None:
    """Set the weights of `head` by ridge regression on N training images, with V views of each.

    Args:
        head: D features to K attributes.
        features: (N, V, D), pooled, of the trained trunk.
        scores: (N, K), the teacher's of the whole image, which every view of it is to have.
        ridge: penalty of a weight, where features have a spread of 1.
    """
    seen, wanted = features.reshape(-1, features.shape[-1]), np.repeat(scores, features.shape[1], axis=0)
    mean, spread = seen.mean(0), np.maximum(seen.std(0), LEAST_SPREAD)
    standard = (seen - mean) / spread
    normal = standard.T.astype("float64") @ standard / len(seen) + ridge * np.eye(len(mean))
    weights = np.linalg.solve(normal, standard.T @ (wanted - wanted.mean(0)) / len(seen)).T / spread
    head.weight.copy_(torch.from_numpy(weights))
    head.bias.copy_(torch.from_numpy(wanted.mean(0) - weights @ mean))
