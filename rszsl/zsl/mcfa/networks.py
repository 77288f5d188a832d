"""The two variational autoencoders of MCFA and their shared latent space (METHOD E.2)."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

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
        """Draw once for each row: (N, L).

        Args:
            noise: `scalar` as published, mean + exp(logvar) e with one e for a row's all dimensions; `standard`, mean +
                exp(logvar / 2) e with an e for each.
            generator: of e.
        """
        rows, width = self.mean.shape
        if noise == "scalar":
            return self.mean + self.logvar.exp() * torch.randn(rows, 1, generator=generator)
        return self.mean + torch.exp(self.logvar / 2) * torch.randn(rows, width, generator=generator)


class Autoencoder(nn.Module):
    """D -> H (ReLU) -> mean and logvar of L, and L -> H (ReLU) -> D; Xavier-uniform of gain 0.5, no bias at first."""

    def __init__(self, width: int, hidden: int, generator: torch.Generator) -> None:
        super().__init__()
        self.enter, self.distribution = nn.Linear(width, hidden), nn.Linear(hidden, 2 * LATENT)
        self.open, self.leave = nn.Linear(LATENT, hidden), nn.Linear(hidden, width)
        heads = self.distribution.weight.data.chunk(2)  # mean and logvar, each a layer of its own in the paper
        for weight in (self.enter.weight, *heads, self.open.weight, self.leave.weight):
            nn.init.xavier_uniform_(weight, gain=0.5, generator=generator)
        for layer in (self.enter, self.distribution, self.open, self.leave):
            nn.init.zeros_(layer.bias)

    def encode(self, rows: Tensor) -> Latent:
        """Give the distribution of each of (N, D)."""
        mean, logvar = self.distribution(self.enter(rows).relu()).chunk(2, dim=1)
        return Latent(mean, logvar)

    def decode(self, latents: Tensor) -> Tensor:
        """Give rows (N, D) of latents (N, L)."""
        decoded: Tensor = self.leave(self.open(latents).relu())
        return decoded


class Mcfa(nn.Module):
    """Both autoencoders."""

    def __init__(self, visual_width: int, semantic_width: int, generator: torch.Generator) -> None:
        super().__init__()
        self.visual = Autoencoder(visual_width, VISUAL_HIDDEN, generator)
        self.semantic = Autoencoder(semantic_width, SEMANTIC_HIDDEN, generator)
