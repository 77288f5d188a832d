"""Heads that speak in attributes over the tokens of any tower (METHOD B.3, DSVA, arXiv 2402.02094)."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True, slots=True, eq=False)
class HeadsOutput:
    """What the heads say of N images.

    Attributes:
        global_scores: (N, K), a_g.
        local_scores: (N, K), a_l, the largest of each prototype's products with the tokens.
        maps: (N, K, G, G), the products with the patches, where each attribute is seen.
    """

    global_scores: Tensor
    local_scores: Tensor
    maps: Tensor


class DsvaHeads(nn.Module):
    """Global head and attribute prototypes over tokens (N, T, D), T = prefix + G * G.

    As published, a layer norm stands before the global head and nothing before the prototypes. In our mode both see
    tokens less their mean over the training images (`calibrate`), and scores of one spread over those images: most of
    a token says no more than "a picture from above".
    """

    class_mean: Tensor
    patch_mean: Tensor
    global_gain: Tensor
    local_gain: Tensor
    local_bias: Tensor

    def __init__(self, width: int, attributes: int, prefix: int, grid: int, *, centred: bool) -> None:
        super().__init__()
        self.prefix, self.grid, self.centred = prefix, grid, centred
        self.norm = nn.Identity() if centred else nn.LayerNorm(width)
        self.global_head = nn.Linear(width, attributes)
        self.prototypes = nn.Parameter(2e-4 * torch.rand(attributes, width))
        for name, shape in (("class_mean", width), ("patch_mean", width), ("local_bias", attributes)):
            self.register_buffer(name, torch.zeros(shape))
        for name in ("global_gain", "local_gain"):
            self.register_buffer(name, torch.ones(attributes))

    def forward(self, tokens: Tensor) -> HeadsOutput:
        """Score tokens (N, T, D)."""
        if self.centred:
            return self._centred(tokens)
        products = tokens @ self.prototypes.T  # (N, T, K)
        return HeadsOutput(self.from_pooled(tokens.mean(1)), products.amax(1), self._maps(products[:, self.prefix :]))

    def from_pooled(self, pooled: Tensor) -> Tensor:
        """Score pooled tokens (N, D) with the global head: (N, K)."""
        if self.centred:
            scores: Tensor = self.global_head(pooled - self.class_mean) * self.global_gain
            return scores
        return self.global_head(self.norm(pooled))  # type: ignore[no-any-return]

    def pool(self, tokens: Tensor) -> Tensor:
        """Give what our global head reads, (N, D): the CLS token, or the mean patch where there is none."""
        return tokens[:, 0] if self.prefix else tokens.mean(1)

    def _centred(self, tokens: Tensor) -> HeadsOutput:
        products = (tokens[:, self.prefix :] - self.patch_mean) @ self.prototypes.T
        local = (products.amax(1) - self.local_bias) * self.local_gain
        return HeadsOutput(self.from_pooled(self.pool(tokens)), local, self._maps(products))

    def scaled(self, maps: Tensor) -> Tensor:
        """Bring maps (N, K, G, G) to the scale of the local scores; as published they are on it."""
        return (maps - self.local_bias[:, None, None]) * self.local_gain[:, None, None]

    def _maps(self, products: Tensor) -> Tensor:
        return products.transpose(1, 2).reshape(*products.shape[::2], self.grid, self.grid)

    @torch.no_grad()
    def calibrate(self, tokens: Tensor, anchors: Tensor | None) -> None:
        """Set the means and spreads from training tokens (N, T, D); start both heads at the anchors where given.

        Args:
            tokens: of some hundreds of training images.
            anchors: (K, D), where each attribute lies in the space of the tokens; None: random directions.
        """
        self.class_mean.copy_(self.pool(tokens).mean(0))
        self.patch_mean.copy_(tokens[:, self.prefix :].mean((0, 1)))
        start = torch.randn_like(self.prototypes) if anchors is None else anchors
        self.prototypes.copy_(normal(start))
        self.global_head.weight.copy_(normal(start))
        self.global_head.bias.zero_()
        self.global_gain.copy_(1 / self.from_pooled(self.pool(tokens)).std(0).clamp(min=1e-6))
        best = ((tokens[:, self.prefix :] - self.patch_mean) @ self.prototypes.T).amax(1)
        self.local_bias.copy_(best.mean(0))
        self.local_gain.copy_(1 / best.std(0).clamp(min=1e-6))


def reported(out: HeadsOutput, which: str) -> Tensor:
    """Give the attributes (N, K) of one output: `local`, `global`, or `both`, the mean of their directions."""
    if which == "local":
        return out.local_scores
    if which == "global":
        return out.global_scores
    return (normal(out.local_scores) + normal(out.global_scores)) / 2


def normal(scores: Tensor) -> Tensor:
    """Scale rows to unit length."""
    return functional.normalize(scores, dim=-1)


def compatibility(attributes: Tensor, rows: Tensor, *, centred: bool) -> Tensor:
    """Score attributes (N, K) against class rows (C, K): dot products as published, cosines where centred."""
    return (normal(attributes) if centred else attributes) @ rows.T
