"""The classifier of MCFA: linear, in the latent space, from drawn latents (METHOD E.6)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from rszsl.zsl.mcfa.networks import Networks, Noise
from rszsl.zsl.problem import Floats, Indices

UNSEEN_ALONE = 200
SEEN_DRAWS = 200
UNSEEN_DRAWS = 400
RATE = 1e-3
BETAS = (0.5, 0.999)
BATCH = 32


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """Latents to learn from: float32 (n, L), and int64 (n,), their classes by position."""

    latents: Floats
    truth: Indices


def draw_semantic(networks: Networks, rows: Floats, each: int, noise: Noise, generator: torch.Generator) -> Drawn:
    """Draw `each` latents for every one of C class rows (C, K) from the semantic encoder."""
    truth = np.repeat(np.arange(len(rows)), each)
    with torch.inference_mode():
        latents = networks.semantic.encode(torch.from_numpy(rows[truth])).sample(noise, generator)
    return Drawn(latents.numpy(), truth)


def draw_visual(
    networks: Networks, visual: Floats, members: Sequence[Indices], each: int, noise: Noise, generator: torch.Generator
) -> Drawn:
    """Draw `each` latents for every class from the visual encoder.

    Args:
        networks: the trained encoders.
        visual: float32 (n, E), scaled as in training.
        members: the images of each class; in turn, again from the first where there are fewer than `each`.
        each: latents for a class.
        noise: how they are drawn.
        generator: of the noise.
    """
    images = np.concatenate([np.resize(ids, each) for ids in members])
    with torch.inference_mode():
        latents = networks.visual.encode(torch.from_numpy(visual[images])).sample(noise, generator)
    return Drawn(latents.numpy(), np.repeat(np.arange(len(members)), each))


def joined(seen: Drawn, unseen: Drawn) -> Drawn:
    """Join both for the generalised classifier; unseen classes are counted on after the seen ones."""
    after = int(seen.truth.max()) + 1
    return Drawn(np.concatenate([seen.latents, unseen.latents]), np.concatenate([seen.truth, unseen.truth + after]))


def fit_classifier(drawn: Drawn, passes: Sequence[int], rng: np.random.Generator) -> Iterator[Floats]:
    """Fit log-softmax(z W + b) by Adam on the negative log-likelihood, batches of 32.

    Args:
        drawn: what to learn from.
        passes: after which passes over it a map is wanted, rising.
        rng: of the start (as a torch linear layer) and the order.

    Yields:
        float32 (L + 1, C), the last row the bias.
    """
    latents = np.concatenate([drawn.latents, np.ones((len(drawn.latents), 1), "float32")], axis=1)
    bound = drawn.latents.shape[1] ** -0.5
    weights = rng.uniform(-bound, bound, (latents.shape[1], int(drawn.truth.max()) + 1)).astype("float32")
    first, second, step = np.zeros_like(weights), np.zeros_like(weights), 0
    for done in range(1, passes[-1] + 1):
        order = rng.permutation(len(latents))
        for start in range(0, len(order), BATCH):
            ids = order[start : start + BATCH]
            slope = likelihood_slope(latents[ids], drawn.truth[ids], weights)
            step += 1
            first += np.float32(1 - BETAS[0]) * (slope - first)
            second += np.float32(1 - BETAS[1]) * (slope * slope - second)
            size = RATE * (1 - BETAS[1] ** step) ** 0.5 / (1 - BETAS[0] ** step)
            weights -= np.float32(size) * first / (np.sqrt(second) + np.float32(1e-8 * (1 - BETAS[1] ** step) ** 0.5))
        if done in passes:
            yield weights.copy()


def likelihood_slope(latents: Floats, truth: Indices, weights: Floats) -> Floats:
    """Give the slope of the mean negative log-likelihood of (n, L + 1) by the weights: (L + 1, C)."""
    shares = np.exp(log_softmax(latents @ weights))
    shares[np.arange(len(truth)), truth] -= 1
    slope: Floats = latents.T @ shares / np.float32(len(truth))
    return slope


def log_softmax(logits: Floats) -> Floats:
    """Turn logits (n, C) into log-probabilities."""
    logits = logits - logits.max(axis=1, keepdims=True)
    scores: Floats = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return scores


def classify(latents: Floats, weights: Floats) -> Floats:
    """Give log-probabilities (m, C) of latents (m, L)."""
    return log_softmax(latents @ weights[:-1] + weights[-1])
