"""Rows from names alone: a class's name against the attributes' names. No image is looked at."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rszsl.errors import TrainingError
from rszsl.model.bundle import DsvaModel
from rszsl.model.checkpoint import load_model
from rszsl.model.text import PhraseEncoder, unit
from rszsl.zsl.data.hashes import sha256_of
from rszsl.zsl.problem import ClassTable
from rszsl.zsl.rows.common import build_table
from rszsl.zsl.rows.vectors import phrase_vectors, read_known
from rszsl.zsl.rows.vocabulary import Attribute

Floats = NDArray[np.float32]
TEXT_MODEL = "dsva-small"
"""Whose text side benchmarks use: of the bundled ones, that in half precision; the records are of it."""


@dataclass(frozen=True, slots=True, eq=False)
class TextSide:
    """What reads phrases.

    Attributes:
        encode: N phrases -> float32 (N, 512), centred on a vocabulary, unit length.
        record: what it is.
    """

    encode: Callable[[Sequence[str]], Floats]
    record: Mapping[str, Any]


def bundled_text(model: str = TEXT_MODEL) -> TextSide:
    """The text side of a bundled model: it needs no other file. Rows that images taught are not used.

    Raises:
        TrainingError: where it has none.
    """
    loaded = load_model(model, device="cpu")
    if not isinstance(loaded, DsvaModel):
        raise TrainingError(f"{model} has no text side of its own that reads phrases; take {TEXT_MODEL}")
    encoder = loaded.text.encoder
    return TextSide(
        lambda phrases: np.stack([encoder.encode(phrase) for phrase in phrases]),
        {"text": loaded.card.name, "source_sha256": hashlib.sha256(repr(loaded.card.files).encode()).hexdigest()},
    )


def table_text(text_vectors: Path, encoder: PhraseEncoder) -> TextSide:
    """Real CLIP text vectors where the table has the phrase, else the encoder's."""
    known = read_known(text_vectors)
    centre = known.vectors.mean(0)
    return TextSide(
        lambda phrases: phrase_vectors(phrases, known, centre, encoder),
        {"text": "CLIP ViT-B/32 table", "source_sha256": sha256_of(text_vectors)},
    )


def textual_rows(
    classes: Sequence[str], attributes: Sequence[Attribute], text: TextSide, *, ridge: float | None = None
) -> ClassTable:
    """Give text-only rows, centred over the classes' names.

    Args:
        classes: canonical names.
        attributes: the vocabulary, K of them.
        text: reads both.
        ridge: None: rows are the cosines of name and attribute; else they are the coefficients that rebuild a name
            from the attributes, with this penalty.
    """
    vectors = text.encode([attribute.phrase for attribute in attributes])
    raw = text.encode(classes) @ vectors.T
    if ridge is not None:
        raw = np.linalg.solve(vectors @ vectors.T + ridge * np.eye(len(vectors)), raw.T).T
    return build_table(
        classes,
        unit(raw - raw.mean(0)),
        [attribute.name for attribute in attributes],
        {
            "provider": "text",
            **text.record,
            "ridge": ridge,
            "images_per_class": 0,
            "unseen_images_used": False,
            "normalisation": "centred over all classes, unit rows",
        },
        [attribute.family or None for attribute in attributes],
    )
