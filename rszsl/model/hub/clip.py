"""A CLIP-like model as a `Model`: tiles to image embeddings, names to text embeddings, in one space.

Its embedding is what a class is compared with, so `Encoded.attributes` is the embedding itself. Its numbers mean
nothing one by one: the model names no attributes, and the attribute columns of a map stay empty.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from rszsl.classes import ClassName
from rszsl.labels.calibrate import Calibrator
from rszsl.model.bundle import CardModel, on_device
from rszsl.model.encoder import ClassRows, Encoded, Floats, Pixels
from rszsl.model.hub.prompts import PhraseRows
from rszsl.model.hub.towers import Towers
from rszsl.model.preprocess import Bytes, fit_images, normalise

MIN_CONFIDENCE = 0.5
"""A tile is labelled where the best class beats the strongest background prompt."""
CLOSE_QUANTILE = 0.99
"""A class is close to a background row where their cosine is above nearly all between two background rows."""


@dataclass(frozen=True, slots=True, eq=False)
class ClipModel(CardModel):
    """A loaded CLIP-like model.

    Attributes:
        background_rows: float32 (B, D), unit rows of what anything may show.
        phrases: its text side, with prompts and cache.
        towers: the library's model.
        caution: what the user is told with every class.
    """

    background_rows: Floats
    phrases: PhraseRows
    towers: Towers
    caution: str

    @property
    def attribute_names(self) -> tuple[str, ...]:
        """None: the axes of an embedding have no names."""
        return ()

    def encode(self, tiles: Pixels) -> Encoded:
        """Encode (N, 3, P, P), float32 in 0..1 or uint8 in 0..255, P = the card's `input_px`, RGB order.

        Raises:
            ModelError: where the tiles have another shape.
        """
        return self.encode_pixels(on_device(tiles, self.card, self.torch_device))

    def encode_images(self, images: Sequence[Bytes]) -> Encoded:
        """Encode whole images, uint8 (H, W, 3) each, RGB, resized and cropped as the processor does."""
        return self.encode_pixels(fit_images(images, self.towers.preprocess, self.torch_device))

    def class_rows(self, classes: Sequence[ClassName]) -> ClassRows:
        """Give one text row for each class: the mean over its name and synonyms of the mean over templates."""
        return ClassRows(self.phrases.class_rows(classes), (self.caution,) * len(classes))

    def encode_pixels(self, pixels: Tensor) -> Encoded:
        """Encode float32 (N, 3, P, P) in 0..1 on the model's device; mean and std are taken off here."""
        if not len(pixels):
            empty = np.zeros((0, self.background_rows.shape[1]), dtype="float32")
            return Encoded(empty, empty)
        halved = torch.autocast(self.torch_device.type, torch.bfloat16, enabled=self.precision == "bf16")
        with torch.inference_mode(), halved:
            found = self.towers.images(normalise(pixels, self.towers.preprocess))
        embedding = functional.normalize(found.float(), dim=-1)
        rows: Floats = embedding.cpu().numpy()
        return Encoded(rows, rows)


def plain_calibrator(background: Floats, scale: float) -> Calibrator:
    """Give constants for a model that nobody calibrated.

    The confidence is then the softmax, at the model's own temperature, between the class and the strongest background
    prompt. Such a number ranks tiles; it is no frequency of being right.

    Args:
        background: float32 (B, D), unit rows.
        scale: 1 / temperature.
    """
    cosines = background @ background.T
    apart = cosines[~np.eye(len(background), dtype=bool)]
    return Calibrator(
        bias=0.0,
        weight_similarity=0.0,
        weight_margin=scale,
        background_max_cosine=float(np.quantile(apart, CLOSE_QUANTILE)),
    )
