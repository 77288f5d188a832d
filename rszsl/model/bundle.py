"""A model ready for use: tiles in, attribute scores out; names in, attribute rows out."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from rszsl.classes import ClassName
from rszsl.errors import ModelError
from rszsl.labels.calibrate import Calibrator
from rszsl.model.card import ModelCard
from rszsl.model.dsva import Dsva
from rszsl.model.encoder import ClassRows, Encoded, Floats
from rszsl.model.text import AttributeText


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """A loaded model; both an `Encoder` and a `TextSide`.

    Attributes:
        card: what it is.
        attribute_names: K names, in the order of every row.
        background_rows: float32 (B, K), unit rows of what anything may show.
        text: its text side.
        network: its image side, in evaluation mode on `torch_device`.
        torch_device: where the network runs.
    """

    card: ModelCard
    attribute_names: tuple[str, ...]
    background_rows: Floats
    text: AttributeText
    network: Dsva
    torch_device: torch.device

    @property
    def calibrator(self) -> Calibrator:
        """Constants of the presence probability."""
        return self.card.calibrator

    @property
    def min_confidence(self) -> float:
        """The confidence below which a tile is `other`, unless the user says otherwise."""
        return self.card.min_confidence

    @property
    def device(self) -> str:
        """Where the network runs, as `cpu` or `cuda:0`."""
        return str(self.torch_device)

    def encode(self, tiles: Floats) -> Encoded:
        """Encode float32 (N, 3, P, P) in 0..1, P = the card's `input_px`, RGB order.

        Raises:
            ModelError: where the tiles have another shape.
        """
        side = self.card.input_px
        if tiles.ndim != 4 or tiles.shape[1:] != (3, side, side):
            raise ModelError(f"{self.card.name} wants tiles (N, 3, {side}, {side}), got {tiles.shape}")
        mean = torch.tensor(self.card.mean, device=self.torch_device)[:, None, None]
        std = torch.tensor(self.card.std, device=self.torch_device)[:, None, None]
        with torch.inference_mode():
            pixels = (torch.from_numpy(tiles).to(self.torch_device) - mean) / std
            out = self.network(pixels.contiguous(memory_format=torch.channels_last))
        return Encoded(out.embedding.cpu().numpy(), out.attributes.cpu().numpy())

    def class_rows(self, classes: Sequence[ClassName]) -> ClassRows:
        """Give one attribute row for each class; see `AttributeText.class_rows`."""
        return self.text.class_rows(classes)
