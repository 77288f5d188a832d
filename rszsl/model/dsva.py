"""Deep semantic-visual alignment (DSVA, arXiv 2402.02094): one token backbone, heads that speak in attributes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from rszsl.model.backbone import build_backbone, map_widths, tokens_of, trunk_of


@dataclass(frozen=True, slots=True)
class Shape:
    """What decides the size of every weight.

    Attributes:
        input_px: side of a tile.
        attributes: how many attributes, K.
        embed_dim: token width, D.
        depth: transformer blocks after the trunk.
        heads: attention heads a block.
        embedding_dim: width of the embedding head, E (512: the CLIP ViT-B/16 image space).
        direct: 1 where there is a head that reads the trunk's pooled maps, past the transformer.
        trunk_depth: blocks of a ViT-B/16 as the trunk; 0 where that is EfficientNet-lite0.
    """

    input_px: int
    attributes: int
    embed_dim: int
    depth: int
    heads: int
    embedding_dim: int
    direct: int = 0
    trunk_depth: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class DsvaOutput:
    """What the network says of N tiles, on a grid of G x G patches.

    Attributes:
        embedding: (N, E), unit length; imitates the teacher.
        global_scores: (N, K), a_g of METHOD B.3: standardised attribute scores from the mean token.
        local_scores: (N, K), a_l: the best patch of each attribute's map.
        direct_scores: (N, K), of the direct head; without one, the mean of the other two.
        maps: (N, K, G, G), M: where each attribute is seen.
        attributes: (N, K), unit length: the joint scores, decorrelated.
    """

    embedding: Tensor
    global_scores: Tensor
    local_scores: Tensor
    direct_scores: Tensor
    maps: Tensor
    attributes: Tensor


class Dsva(nn.Module):
    """The image side: tiles to attribute scores, attention maps and an embedding.

    `score_mean` (K,) and `decorrelation` (K, K) are no parameters: they do nothing in training and are fitted after
    it (`rszsl.training.decorrelate`).
    """

    score_mean: Tensor
    decorrelation: Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.backbone = build_backbone(
            input_px=shape.input_px,
            embed_dim=shape.embed_dim,
            depth=shape.depth,
            heads=shape.heads,
            trunk_depth=shape.trunk_depth,
        )
        self.norm = nn.LayerNorm(shape.embed_dim)
        self.global_head = nn.Linear(shape.embed_dim, shape.attributes)
        self.local_norm = nn.LayerNorm(shape.embed_dim)
        self.prototypes = nn.Parameter(torch.randn(shape.attributes, shape.embed_dim) * 0.02)
        self.local_bias = nn.Parameter(torch.zeros(shape.attributes))
        self.register_buffer("score_mean", torch.zeros(shape.attributes))
        self.register_buffer("decorrelation", torch.eye(shape.attributes))
        self.direct_head: nn.Linear | None = None
        if shape.direct:
            self.direct_head = nn.Linear(sum(map_widths(self.backbone)), shape.attributes)
            # Silent, and not trained: it is fitted in the end (`rszsl.training.direct`).
            nn.init.zeros_(self.direct_head.weight)
            nn.init.zeros_(self.direct_head.bias)
            self.direct_head.requires_grad_(False)
        self.embedding_head = nn.Sequential(
            nn.Linear(shape.embed_dim, 2 * shape.embed_dim),
            nn.GELU(),
            nn.Linear(2 * shape.embed_dim, shape.embedding_dim),
        )

    def forward(self, pixels: Tensor) -> DsvaOutput:
        """Encode normalised pixels (N, 3, P, P) with P = `input_px`."""
        return self.from_maps(trunk_of(self.backbone)(pixels))

    def from_maps(self, maps: Sequence[Tensor]) -> DsvaOutput:
        """Encode the trunk's maps, (N, C, G, G) each, the last one at the stride of the tokens."""
        # Whatever the backbone runs in, the heads run in single precision.
        tokens = tokens_of(self.backbone, maps[-1]).float()
        side = math.isqrt(tokens.shape[1])
        pooled = self.norm(tokens.mean(1))
        # Unlike METHOD B.3, tokens are normalised before the prototypes meet them, so that the best patch of an
        # attribute and its global score live on one scale; and there is no CLS token to win the maximum.
        scores = self.local_norm(tokens) @ self.prototypes.T + self.local_bias
        a_g, a_l = self.global_head(pooled), scores.amax(1)
        a_d = (a_g + a_l) / 2 if self.direct_head is None else self.direct_head(pool_maps(maps))
        joint = (join_scores(a_g, a_l, a_d) - self.score_mean) @ self.decorrelation
        return DsvaOutput(
            embedding=functional.normalize(self.embedding_head(pooled), dim=-1),
            global_scores=a_g,
            local_scores=a_l,
            direct_scores=a_d,
            maps=scores.transpose(1, 2).reshape(*a_l.shape, side, side),
            attributes=functional.normalize(joint, dim=-1),
        )


def pool_maps(maps: Sequence[Tensor]) -> Tensor:
    """Average each of the trunk's maps (N, C, G, G) over its cells, for the direct head: float32 (N, sum of C)."""
    return torch.cat([part.float().mean((2, 3)) for part in maps], 1)


def join_scores(global_scores: Tensor, local_scores: Tensor, direct_scores: Tensor) -> Tensor:
    """Join what three heads say, (N, K) each: the mean of the mean of the first two, and the third."""
    return (global_scores + local_scores) / 4 + direct_scores / 2
