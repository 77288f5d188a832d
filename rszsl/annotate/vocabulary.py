"""The attributes that classes are described with, as data."""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from rszsl.classes import ClassName
from rszsl.errors import AnnotationError

KEYS = frozenset({"name", "family", "phrase", "phrases", "human"})


@dataclass(frozen=True, slots=True)
class Attribute:
    """One thing to look for.

    Attributes:
        name: as in the matrix.
        family: what it belongs with (colour, objects, ...).
        phrases: what its text vector is made of; their mean.
        human: its column in a human table, or "" where it has the same name there.
    """

    name: str
    family: str
    phrases: tuple[str, ...]
    human: str = ""

    @property
    def as_class(self) -> ClassName:
        """As the text side of a model takes names."""
        return ClassName(self.phrases[0], self.phrases[1:])


def read_vocabulary(path: Path) -> tuple[Attribute, ...]:
    """Read attributes from YAML or TOML.

    Either a list `attributes` (in TOML also `attribute`) of tables with `name`, `family` and, where they differ from
    the name, `phrase` or `phrases`; or in YAML a table `attributes` of families, each a list of names.

    Raises:
        AnnotationError: where it cannot be read, is empty, or names an attribute twice.
    """
    raw = _load(path)
    listed = raw.get("attributes", raw.get("attribute")) if isinstance(raw, dict) else None
    if isinstance(listed, dict):
        listed = [{"name": name, "family": family} for family, names in listed.items() for name in names or ()]
    if not isinstance(listed, list) or not listed:
        raise AnnotationError(f"{path} lists no attributes; see the table `attributes` in the documentation")
    found = tuple(_attribute(entry, path) for entry in listed)
    names = [attribute.name for attribute in found]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise AnnotationError(f'{path} has the attribute "{twice}" twice; keep one')
    return found


def _load(path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8-sig")
        return tomllib.loads(text) if path.suffix == ".toml" else yaml.safe_load(text)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, yaml.YAMLError) as err:
        raise AnnotationError(f"cannot read the vocabulary {path}: {err}; give YAML or TOML") from err


def _attribute(entry: Any, path: Path) -> Attribute:
    if isinstance(entry, str):
        entry = {"name": entry}
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str) or not entry["name"].strip():
        raise AnnotationError(f"{path}: {entry!r} is no attribute; give a name, a family and phrases")
    if surplus := sorted(set(entry) - KEYS):
        raise AnnotationError(f'{path}: the attribute "{entry["name"]}" has the unknown key {surplus[0]}')
    phrases = entry.get("phrases") or [entry.get("phrase") or entry["name"]]
    if not isinstance(phrases, list) or not all(isinstance(phrase, str) and phrase.strip() for phrase in phrases):
        raise AnnotationError(f'{path}: the phrases of "{entry["name"]}" are no list of texts')
    return Attribute(entry["name"], str(entry.get("family", "")), tuple(phrases), str(entry.get("human", "")))
