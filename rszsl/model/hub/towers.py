"""The seam between rszsl and the libraries: an image tower and a text tower that meet in one space."""

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor, nn

from rszsl.model.preprocess import Preprocess


class Towers(Protocol):
    """A CLIP-like model on its device, in evaluation mode."""

    @property
    def preprocess(self) -> Preprocess:
        """What its processor does to an image."""
        ...

    @property
    def scale(self) -> float:
        """What it multiplies cosines with before its loss: 1 / temperature."""
        ...

    @property
    def network(self) -> nn.Module:
        """Both towers, for training."""
        ...

    def images(self, pixels: Tensor) -> Tensor:
        """Embed normalised pixels (N, 3, P, P) -> (N, D), of any length."""
        ...

    def texts(self, sentences: Sequence[str]) -> Tensor:
        """Embed sentences -> (N, D), of any length."""
        ...
