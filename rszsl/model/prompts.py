"""What names look like, in other words, and which names are others for them: a table of phrases."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rszsl.errors import ModelError
from rszsl.model.names import name_key, words_of


@dataclass(frozen=True, slots=True)
class NamePrompts:
    """How names are read.

    Attributes:
        looks: phrases that are read beside a name, by the name in lower case, as words.
        names: the name in `looks` that a name stands for, by `name_key`.
    """

    looks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)


def read_prompts(path: Path) -> NamePrompts:
    """Read `name = ["phrase", ...]` and `"another name" = "name"`; of two spellings of one name the first counts.

    Raises:
        ModelError: where it is no such table.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as err:
        raise ModelError(f"cannot read the prompts {path}: {err}; fetch the model again") from err
    looks: dict[str, tuple[str, ...]] = {}
    names: dict[str, str] = {}
    for name in table:
        meant = table[name] if isinstance(table[name], str) else name
        names.setdefault(name_key(name), meant)
        words = " ".join(words_of(meant))
        if words not in looks:
            looks[words] = _phrases(table, meant, path)
    return NamePrompts(looks, names)


def _phrases(table: Mapping[str, Any], name: str, path: Path) -> tuple[str, ...]:
    phrases = table.get(name)
    if not isinstance(phrases, list) or not all(isinstance(p, str) and words_of(p) for p in phrases):
        raise ModelError(f'{path}: the phrases of "{name}" are no list of texts; fetch the model again')
    return tuple(phrases)
