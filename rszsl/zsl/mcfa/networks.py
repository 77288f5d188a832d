"""The two variational autoencoders of MCFA and their shared latent space (METHOD E.2)."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Noise = Literal["scalar", "standard"]
LATENT = 64
VISUAL_HIDDEN = 512
SEMANTIC_HIDDEN = 256


@dataclass(frozen=True, slots=True, eq=False)
class Latent:
    """A normal distribution for each of N rows; both float32 (N, L)."""

    mean: Tensor
    logvar: Tensor

    def sample(self, noise: Noise, generator: torch.Generator) -> Tensor:
        """Draw once for each row: (N, L)."""
        return self.mean + self.spread(noise, generator)

    def spread(self, noise: Noise, generator: torch.Generator) -> Tensor:
        """Draw how far from the mean, (N, L).

        Args:
            noise: `scalar` as published, exp(logvar) e with one e for a row's all dimensions; `standard`,
                exp(logvar / 2) e with an e for each.
            generator: of e.
        """
        rows, width = self.mean.shape
        if noise == "scalar":
            return self.logvar.exp() * torch.randn(rows, 1, generator=generator)
        return torch.exp(self.logvar / 2) * torch.randn(rows, width, generator=generator)


class Perceptron:
    """I -> H (ReLU) -> O: float32 weights (I, H), (H, O) with biases, beside room for their slopes.

    They are views into two flat arrays, so that the optimiser makes one step for all.
    """

    def __init__(self, sizes: tuple[int, int, int], flat: Tensor, slopes: Tensor) -> None:
        inner, hidden, outer = sizes
        self.first, self.first_bias, self.second, self.second_bias = _views(flat, inner, hidden, outer)
        self._slopes = _views(slopes, inner, hidden, outer)

    @staticmethod
    def size(sizes: tuple[int, int, int]) -> int:
        """Count the weights."""
        inner, hidden, outer = sizes
        return (inner + 1) * hidden + (hidden + 1) * outer

    def run(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Give the hidden layer (N, H) and the outcome (N, O)."""
        hidden = torch.addmm(self.first_bias, rows, self.first).relu_()
        return hidden, torch.addmm(self.second_bias, hidden, self.second)

    def back(self, rows: Tensor, hidden: Tensor, by_outcome: Tensor) -> Tensor:
        """Store the slopes by the weights; give that by the hidden layer before its ReLU."""
        first, first_bias, second, second_bias = self._slopes
        torch.mm(hidden.T, by_outcome, out=second)
        torch.sum(by_outcome, 0, out=second_bias)
        by_hidden = torch.mm(by_outcome, self.second.T).mul_(hidden > 0)
        torch.mm(rows.T, by_hidden, out=first)
        torch.sum(by_hidden, 0, out=first_bias)
        return by_hidden


class Autoencoder:
    """D -> H -> mean and logvar of L, and L -> H -> D."""

    def __init__(self, width: int, hidden: int, flat: Tensor, slopes: Tensor) -> None:
        inward, outward = _sizes(width, hidden)
        cut = Perceptron.size(inward)
        self.encoder = Perceptron(inward, flat[:cut], slopes[:cut])
        self.decoder = Perceptron(outward, flat[cut:], slopes[cut:])

    def start(self, generator: torch.Generator) -> None:
        """Draw the weights, Xavier-uniform of gain 0.5; mean and logvar are two layers. Biases stay 0."""
        heads = torch.split_with_sizes(self.encoder.second, [LATENT, LATENT], dim=1)
        for weight in (self.encoder.first, *heads, self.decoder.first, self.decoder.second):
            bound = 0.5 * (6 / sum(weight.shape)) ** 0.5
            weight.copy_((torch.rand(weight.shape, generator=generator) * 2 - 1) * bound)

    def encode(self, rows: Tensor) -> Latent:
        """Give the distribution of each of (N, D)."""
        return latent_of(self.encoder.run(rows)[1])

    def decode(self, latents: Tensor) -> Tensor:
        """Give rows (N, D) of latents (N, L)."""
        return self.decoder.run(latents)[1]


class Networks:
    """Both autoencoders; `flat` holds all weights, `slopes` their slopes."""

    def __init__(self, visual_width: int, semantic_width: int, generator: torch.Generator) -> None:
        shapes = (visual_width, VISUAL_HIDDEN), (semantic_width, SEMANTIC_HIDDEN)
        visual, semantic = (sum(map(Perceptron.size, _sizes(*shape))) for shape in shapes)
        self.flat, self.slopes = torch.zeros(visual + semantic), torch.zeros(visual + semantic)
        self.visual = Autoencoder(*shapes[0], self.flat[:visual], self.slopes[:visual])
        self.semantic = Autoencoder(*shapes[1], self.flat[visual:], self.slopes[visual:])
        self.visual.start(generator)
        self.semantic.start(generator)


def latent_of(outcome: Tensor) -> Latent:
    """Take the outcome of an encoder (N, 2 L) apart."""
    return Latent(outcome[:, :LATENT], outcome[:, LATENT:])


def _sizes(width: int, hidden: int) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    return (width, hidden, 2 * LATENT), (LATENT, hidden, width)


def _views(flat: Tensor, inner: int, hidden: int, outer: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    parts = torch.split_with_sizes(flat, [inner * hidden, hidden, hidden * outer, outer])
    return parts[0].view(inner, hidden), parts[1], parts[2].view(hidden, outer), parts[3]
