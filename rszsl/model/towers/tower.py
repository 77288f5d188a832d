"""What every method sees of a backbone: tokens on a square grid, and an embedding where it has one."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class TowerSpec:
    """How a tower wants its pixels, and what it gives.

    Attributes:
        name: what it is.
        input_px: side of its square input.
        mean: of its normalisation, RGB, of values in 0..1.
        std: likewise.
        width: D, width of a token.
        grid: G, patches a side.
        prefix: tokens before the patches (1 where there is a CLS token).
        embedding_dim: E, width of the embedding; 0 where it has none.
    """

    name: str
    input_px: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    width: int
    grid: int
    prefix: int
    embedding_dim: int

    @property
    def tokens(self) -> int:
        """T, how many tokens an image gives."""
        return self.prefix + self.grid**2


@dataclass(frozen=True, slots=True, eq=False)
class TowerOutput:
    """What a tower says of N images.

    Attributes:
        tokens: (N, T, D), the prefix first, then the patches row by row; the last hidden state, before any final norm.
        embedding: (N, E), not normalised, or None.
    """

    tokens: Tensor
    embedding: Tensor | None


class Tower(nn.Module):
    """A backbone that can be trained; `spec` says what it wants, `config` builds it anew with `build_tower`."""

    spec: TowerSpec
    config: Mapping[str, Any]

    def forward(self, pixels: Tensor) -> TowerOutput:
        """Encode normalised pixels (N, 3, P, P), P = `spec.input_px`."""
        raise NotImplementedError

    def align(self, tokens: Tensor) -> Tensor:
        """Bring tokens (N, T, D) where the embedding lies, (N, T, E or D), by the tower's own final norm."""
        raise NotImplementedError

    def tokens(self, pixels: Tensor, *, aligned: bool) -> Tensor:
        """Give the tokens of normalised pixels, aligned or as the last block gives them."""
        tokens = self(pixels).tokens
        return self.align(tokens) if aligned else tokens

    def width(self, *, aligned: bool) -> int:
        """Width of such tokens."""
        return self.spec.embedding_dim or self.spec.width if aligned else self.spec.width
