"""Prompts as data, and the text rows that they give: each phrase is embedded once, and kept on disk."""

import hashlib
import json
import os
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from rszsl.classes import ClassName
from rszsl.errors import ModelError
from rszsl.model.encoder import Floats
from rszsl.model.names import name_key
from rszsl.model.text import unit

PROMPTS_FILE = Path(__file__).with_name("prompts.toml")
TEXT_BATCH = 64
"""Sentences that the text tower sees at once."""

EmbedTexts = Callable[[Sequence[str]], Floats]
"""Sentences to float32 (N, D), of any length."""


@dataclass(frozen=True, slots=True)
class Prompts:
    """How a name becomes sentences.

    Attributes:
        templates: each with `{}` where the name goes.
        synonyms: other words for a name, by `name_key`, used where the user gives none.
    """

    templates: tuple[str, ...]
    synonyms: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        bad = next((t for t in self.templates if t.count("{}") != 1), None)
        if bad is not None or not self.templates:
            raise ModelError(f'a prompt template needs one {{}} for the name, got "{bad or ""}"')

    def phrases_of(self, item: ClassName) -> tuple[str, ...]:
        """The name and its synonyms: the user's, else ours."""
        return item.phrases if item.synonyms else (item.name, *self.synonyms.get(name_key(item.name), ()))

    def sentences(self, phrase: str) -> list[str]:
        """One sentence a template."""
        return [template.format(phrase) for template in self.templates]


def default_prompts() -> Prompts:
    """The 16 templates for pictures from above, and our synonyms."""
    raw = tomllib.loads(PROMPTS_FILE.read_text(encoding="utf-8"))
    return Prompts(tuple(raw["templates"]), {name_key(name): tuple(words) for name, words in raw["synonyms"].items()})


def average_templates(embedded: NDArray[np.floating]) -> Floats:
    """Average over templates: (T, N, D) of any length -> float32 (N, D), unit length.

    Each sentence counts alike, whatever its vector's length.
    """
    return unit(unit(embedded).mean(axis=0))


class PhraseRows:
    """Rows of phrases: from memory, else from a file, else from the text tower, once.

    The file is a cache beside many: a damaged or unwritable one costs time, never a result.
    """

    def __init__(self, embed: EmbedTexts, prompts: Prompts, weights: str, folder: Path | None) -> None:
        key = json.dumps([weights, prompts.templates])
        self._file = folder / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.npz" if folder else None
        self._embed, self._prompts = embed, prompts
        self._rows = _read(self._file)

    def rows(self, phrases: Sequence[str]) -> Floats:
        """Give float32 (N, D), unit length: each phrase's mean over the templates."""
        missing = [phrase for phrase in dict.fromkeys(phrases) if phrase not in self._rows]
        if missing:
            self._rows |= dict(zip(missing, self._embed_all(missing), strict=True))
            _write(self._file, self._rows)
        return np.stack([self._rows[phrase] for phrase in phrases])

    def class_rows(self, classes: Sequence[ClassName]) -> Floats:
        """Give float32 (C, D), unit length: each class's mean over its name and synonyms."""
        every = [self._prompts.phrases_of(item) for item in classes]
        self.rows([phrase for phrases in every for phrase in phrases])
        return np.stack([unit(self.rows(phrases).mean(axis=0)) for phrases in every])

    def _embed_all(self, phrases: Sequence[str]) -> Floats:
        sentences = [sentence for phrase in phrases for sentence in self._prompts.sentences(phrase)]
        parts = [self._embed(sentences[i : i + TEXT_BATCH]) for i in range(0, len(sentences), TEXT_BATCH)]
        vectors = np.concatenate(parts).reshape(len(phrases), len(self._prompts.templates), -1)
        return average_templates(vectors.transpose(1, 0, 2))


def _read(file: Path | None) -> dict[str, Floats]:
    if file is None or not file.is_file():
        return {}
    try:
        with np.load(file, allow_pickle=False) as kept:
            return dict(zip(kept["phrases"].tolist(), kept["rows"], strict=True))
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        return {}


def _write(file: Path | None, rows: Mapping[str, Floats]) -> None:
    if file is None:
        return
    temporary = file.with_suffix(f".{os.getpid()}.tmp.npz")  # map workers may write at once
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        np.savez(temporary, phrases=np.array(list(rows)), rows=np.stack(list(rows.values())))
        temporary.replace(file)
    except OSError:
        temporary.unlink(missing_ok=True)
