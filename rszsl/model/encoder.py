"""The seam between the engine and any model: `Encoder` for tiles, `TextSide` for names."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from rszsl.classes import ClassName

Floats = NDArray[np.float32]
Pixels = NDArray[np.float32] | NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """What an encoder says of N tiles.

    Attributes:
        embedding: float32 (N, D), rows of unit length.
        attributes: float32 (N, K), rows of unit length, so that `attributes @ row` is a cosine and its K
            products are the contributions that add up to it. A model without attributes gives its embedding.
        maps: float32 (N, A, G, G), where A chosen attributes are seen, on G x G patches of each tile, first row on
            top; None where they were not asked for.
    """

    embedding: Floats
    attributes: Floats
    maps: Floats | None = None


@dataclass(frozen=True, slots=True, eq=False)
class ClassRows:
    """What a text side says of C names.

    Attributes:
        rows: float32 (C, K), rows of unit length, in the order of the names.
        notes: for each name, a warning for the user ("no word of it is known") or None.
        understood: for each name, False where its row means nothing; empty where all names are understood.
        taught: for each name, whether images taught it; empty where they taught none.
    """

    rows: Floats
    notes: tuple[str | None, ...]
    understood: tuple[bool, ...] = ()
    taught: tuple[bool, ...] = ()

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the notes say, each once."""
        return tuple(dict.fromkeys(note for note in self.notes if note))


class Encoder(Protocol):
    """Tiles to embeddings and attribute scores."""

    def encode(self, tiles: Pixels) -> Encoded:
        """Encode (N, 3, H, W), float32 in 0..1 or uint8 in 0..255, H = W = the card's `input_px`, RGB order."""
        ...


@runtime_checkable
class MapsEncoder(Protocol):
    """An encoder that can show where it sees an attribute."""

    def encode_with_maps(self, tiles: Pixels, columns: Sequence[int]) -> Encoded:
        """As `encode`, with the maps of these attributes, by their numbers; the rest of the answer is the same."""
        ...


class TextSide(Protocol):
    """Names to attribute rows."""

    def class_rows(self, classes: Sequence[ClassName]) -> ClassRows:
        """Give one attribute row for each class: the mean over its name and synonyms, of unit length."""
        ...
