"""Attributes to describe classes with, before any class has a row of them."""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rszsl.errors import TrainingError
from rszsl.model.card import ATTRIBUTES_FILE
from rszsl.model.checkpoint import find_model
from rszsl.options import DEFAULT_MODEL
from rszsl.zsl.rows.common import attribute_words
from rszsl.zsl.rows.human import families


@dataclass(frozen=True, slots=True)
class Attribute:
    """One thing to look for; `phrase` is what its text vector is made of."""

    name: str
    family: str
    phrase: str


def read_attributes(path: Path) -> tuple[Attribute, ...]:
    """Read a vocabulary of attributes from TOML.

    Raises:
        TrainingError: where the file is no such vocabulary.
    """
    try:
        listed = tomllib.loads(path.read_text(encoding="utf-8"))["attribute"]
        return tuple(Attribute(**entry) for entry in listed)
    except (OSError, ValueError, KeyError, TypeError) as err:
        raise TrainingError(
            f"{path} is no vocabulary of attributes ({err}); it needs [[attribute]] with name, family and phrase"
        ) from err


def bundled_attributes(model: str = DEFAULT_MODEL) -> tuple[Attribute, ...]:
    """The vocabulary of a bundled model, or of a model folder."""
    return read_attributes(find_model(model) / ATTRIBUTES_FILE)


def as_attributes(columns: Sequence[str]) -> tuple[Attribute, ...]:
    """Take the columns of a human table as vocabulary: `has_boats` is looked for as "boats"."""
    return tuple(Attribute(name, families().get(name, ""), attribute_words(name)) for name in columns)
