"""A model ready for use: tiles in, attribute scores out; names in, attribute rows out."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from rszsl.classes import ClassName
from rszsl.errors import ModelError
from rszsl.labels.calibrate import Calibrator
from rszsl.model.card import ModelCard
from rszsl.model.dsva import Dsva
from rszsl.model.encoder import ClassRows, Encoded, Floats, Pixels
from rszsl.model.graph import GraphNetwork
from rszsl.model.precision import DTYPES
from rszsl.model.preprocess import Bytes, Preprocess, fit_images, normalise
from rszsl.model.text import AttributeText


class Model(Protocol):
    """What the pipeline needs of any model; both an `Encoder` and a `TextSide`.

    Where `device` is `cpu`, several threads encode at once.
    """

    @property
    def card(self) -> ModelCard:
        """What it is."""
        ...

    @property
    def attribute_names(self) -> tuple[str, ...]:
        """K names, in the order of every row; () where the rows are no attributes, and none is then reported."""
        ...

    @property
    def background_rows(self) -> Floats:
        """float32 (B, K), unit rows of what anything may show."""
        ...

    @property
    def calibrator(self) -> Calibrator:
        """Constants of the presence probability."""
        ...

    @property
    def min_confidence(self) -> float:
        """The confidence below which a tile is `other`, unless the user says otherwise."""
        ...

    @property
    def device(self) -> str:
        """Where the network runs, as `cpu` or `cuda:0`."""
        ...

    @property
    def precision(self) -> str:
        """What its image side runs in: `fp32` or `bf16`."""
        ...

    @property
    def runtime(self) -> str:
        """What runs its image side: `torch` or `onnxruntime`."""
        ...

    def encode(self, tiles: Pixels) -> Encoded:
        """Encode (N, 3, P, P), float32 in 0..1 or uint8 in 0..255, P = the card's `input_px`, RGB order."""
        ...

    def encode_images(self, images: Sequence[Bytes]) -> Encoded:
        """Encode whole images, uint8 (H, W, 3) each, RGB, resized and cropped as the model's own processor does."""
        ...

    def class_rows(self, classes: Sequence[ClassName]) -> ClassRows:
        """Give one row for each class, in the space of `Encoded.attributes`."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class CardModel:
    """What every loaded model has.

    Attributes:
        card: what it is.
        torch_device: where its networks run, in evaluation mode.
        precision: `fp32` or `bf16`: of what comes before the heads, which are float32 always.
    """

    card: ModelCard
    torch_device: torch.device
    precision: str = field(default="fp32", kw_only=True)

    @property
    def runtime(self) -> str:
        """What runs the image side: `torch` or `onnxruntime`."""
        return "torch"

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
        """Where the networks run, as `cpu` or `cuda:0`."""
        return str(self.torch_device)


@dataclass(frozen=True, slots=True, eq=False)
class TileModel(CardModel):
    """A model of our own: whole images become tiles by the short side and a centre crop."""

    @property
    def preprocess(self) -> Preprocess:
        """How whole images become tiles: short side to the input size, centre crop."""
        side = self.card.input_px
        return Preprocess("shortest", side, side, self.card.mean, self.card.std, pillow=True)

    def encode(self, tiles: Pixels) -> Encoded:
        """Encode (N, 3, P, P), float32 in 0..1 or uint8 in 0..255, P = the card's `input_px`, RGB order.

        Raises:
            ModelError: where the tiles have another shape.
        """
        return self._run(on_device(tiles, self.card, self.torch_device))

    def encode_with_maps(self, tiles: Pixels, columns: Sequence[int]) -> Encoded:
        """As `encode`, with the attention maps of these attributes, by their numbers.

        A map has the scale of the attribute's local score, which is its maximum: standard deviations of the attribute
        over the training images, where the heads were trained to that scale (all but `rszsl train` as published).

        Raises:
            ModelError: where the tiles have another shape.
        """
        return self._run(on_device(tiles, self.card, self.torch_device), columns)

    def encode_images(self, images: Sequence[Bytes]) -> Encoded:
        """Encode whole images, uint8 (H, W, 3) each, RGB."""
        return self._run(fit_images(images, self.preprocess, self.torch_device))

    def _run(self, pixels: Tensor, columns: Sequence[int] = ()) -> Encoded:
        """Encode float32 (N, 3, P, P) in 0..1 on the model's device; with the maps of `columns` if there are any."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True, eq=False)
class DsvaModel(TileModel):
    """A loaded DSVA model.

    Attributes:
        attribute_names: K names, in the order of every row.
        background_rows: float32 (B, K), unit rows of what anything may show.
        text: its text side.
        network: its image side, in evaluation mode on `torch_device`; torch's, or the same in ONNX Runtime.
    """

    attribute_names: tuple[str, ...]
    background_rows: Floats
    text: AttributeText
    network: Dsva | GraphNetwork

    @property
    def runtime(self) -> str:
        """What runs the image side: `torch` or `onnxruntime`."""
        return "onnxruntime" if isinstance(self.network, GraphNetwork) else "torch"

    def class_rows(self, classes: Sequence[ClassName]) -> ClassRows:
        """Give one attribute row for each class; see `AttributeText.class_rows`."""
        return self.text.class_rows(classes)

    def _run(self, pixels: Tensor, columns: Sequence[int] = ()) -> Encoded:
        with torch.inference_mode():
            normal = normalise(pixels, self.preprocess).to(DTYPES[self.precision])
            if self.runtime == "torch":
                normal = normal.contiguous(memory_format=torch.channels_last)
            out = self.network(normal)
        return Encoded(out.embedding.cpu().numpy(), out.attributes.cpu().numpy(), maps_of(out.maps, columns))


def maps_of(maps: Tensor, columns: Sequence[int]) -> Floats | None:
    """Bring the chosen of maps (N, K, G, G) from the device: float32 (N, len(columns), G, G), or None for no choice."""
    return maps[:, list(columns)].float().cpu().numpy() if columns else None


def on_device(tiles: Pixels, card: ModelCard, device: torch.device) -> Tensor:
    """Bring tiles to the device, as float32 (N, 3, P, P) in 0..1; bytes travel as bytes.

    Raises:
        ModelError: naming both shapes.
    """
    side = card.input_px
    if tiles.ndim != 4 or tiles.shape[1:] != (3, side, side):
        raise ModelError(f"{card.name} wants tiles (N, 3, {side}, {side}), got {tiles.shape}")
    pixels = torch.from_numpy(tiles).to(device)
    return pixels if pixels.is_floating_point() else pixels.float().div_(255)
