"""Several CLIP-like models as one: their similarities are averaged.

Unit vectors put side by side and divided by sqrt(M) are of unit length, and their cosine is the mean of the M cosines.
So an ensemble is a `Model` like any other: caches, search, examples and refinement know nothing of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor
from torch.nn import functional

from rszsl.classes import ClassName
from rszsl.model.bundle import CardModel, on_device
from rszsl.model.card import WEIGHTS_FILE, ModelCard
from rszsl.model.encoder import ClassRows, Encoded, Floats, Pixels
from rszsl.model.hub.clip import MIN_CONFIDENCE, ClipModel, plain_calibrator
from rszsl.model.hub.source import BETWEEN
from rszsl.model.preprocess import Bytes


@dataclass(frozen=True, slots=True, eq=False)
class Ensemble(CardModel):
    """Loaded CLIP-like models that speak with one voice.

    Attributes:
        card: names, versions and hashes of all members; the largest input side.
        members: in the order of the embedding's parts.
        background_rows: float32 (B, D), unit rows of what anything may show, D = the members' dimensions together.
        caution: what the user is told with every class.
    """

    members: tuple[ClipModel, ...]
    background_rows: Floats
    caution: str

    @property
    def attribute_names(self) -> tuple[str, ...]:
        """None: the axes of an embedding have no names."""
        return ()

    def encode(self, tiles: Pixels) -> Encoded:
        """Encode (N, 3, P, P), float32 in 0..1 or uint8 in 0..255, P = the card's `input_px`, RGB order.

        Smaller members see them resized.

        Raises:
            ModelError: where the tiles have another shape.
        """
        pixels = on_device(tiles, self.card, self.torch_device)
        return _joined_tiles([m.encode_pixels(_resized(pixels, m.card.input_px)) for m in self.members])

    def encode_images(self, images: Sequence[Bytes]) -> Encoded:
        """Encode whole images, uint8 (H, W, 3) each, RGB, resized and cropped as each member's processor does."""
        return _joined_tiles([member.encode_images(images) for member in self.members])

    def class_rows(self, classes: Sequence[ClassName]) -> ClassRows:
        """Give one text row for each class: those of the members, side by side."""
        rows = join_rows([member.class_rows(classes).rows for member in self.members])
        return ClassRows(rows, (self.caution,) * len(classes))


def join_models(members: Sequence[ClipModel]) -> Ensemble:
    """Make one model of several on the same device.

    Tiles are read at the largest input side, and cover the ground that the first member wants.
    """
    background = join_rows([member.background_rows for member in members])
    card = _card(members, background)
    return Ensemble(card, members[0].torch_device, tuple(members), background, _caution(card, members))


def join_rows(parts: Sequence[Floats]) -> Floats:
    """Put unit rows side by side: M of (N, D_m) -> float32 (N, sum of D_m), unit length."""
    joined: Floats = (np.concatenate(parts, axis=1) / np.sqrt(len(parts))).astype("float32")
    return joined


def _joined_tiles(parts: Sequence[Encoded]) -> Encoded:
    rows = join_rows([part.embedding for part in parts])
    return Encoded(rows, rows)


def _resized(pixels: Tensor, side: int) -> Tensor:
    """Scale (N, 3, P, P) in 0..1 down to a member's side."""
    if pixels.shape[-1] == side or not len(pixels):
        return pixels
    return functional.interpolate(pixels, (side, side), mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)


def _card(members: Sequence[ClipModel], background: Floats) -> ModelCard:
    cards = [member.card for member in members]
    first, side = cards[0], max(card.input_px for card in cards)
    scale = float(np.mean([card.calibrator.weight_margin for card in cards]))
    return ModelCard(
        path=first.path,
        name=BETWEEN.join(card.name for card in cards),
        version=BETWEEN.join(card.version for card in cards),
        architecture="clip",
        files={WEIGHTS_FILE: BETWEEN.join(card.sha256 for card in cards)},
        input_px=side,
        gsd_m=_ground_m(first) / side,
        bands=first.bands,
        mean=first.mean,
        std=first.std,
        shape={},
        calibrator=plain_calibrator(background, scale),
        min_confidence=MIN_CONFIDENCE,
        raw={"members": {card.name: {"version": card.version, "sha256": card.sha256} for card in cards}},
    )


def _ground_m(card: ModelCard) -> float:
    return card.input_px * card.gsd_m


def _caution(card: ModelCard, members: Sequence[ClipModel]) -> str:
    """Say that nothing is calibrated, and who gets another piece of ground than it wants."""
    said = f"confidence is not calibrated for the models {card.name}"
    ground_m = _ground_m(card)
    others = [m.card for m in members if abs(_ground_m(m.card) - ground_m) > 0.01 * ground_m]
    if not others:
        return said
    wants = ", ".join(f"{other.name} wants {_ground_m(other):g} m" for other in others)
    return f"{said}; tiles cover {ground_m:g} m, as the first of them wants, but {wants}"
