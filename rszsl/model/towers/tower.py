"""What every method sees of a backbone: tokens on a square grid, and an embedding where it has one."""

from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class TowerSpec:
    """How a tower wants its pixels, and what it gives.

    Attributes:
        name: where it was loaded from.
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
    """A backbone that can be trained; `spec` says what it wants."""

    spec: TowerSpec

    def forward(self, pixels: Tensor) -> TowerOutput:
        """Encode normalised pixels (N, 3, P, P), P = `spec.input_px`."""
        raise NotImplementedError

    def align(self, tokens: Tensor) -> Tensor:
        """Bring tokens (N, T, D) into the space of the embedding, (N, T, E), by the tower's own final norm."""
        raise NotImplementedError
