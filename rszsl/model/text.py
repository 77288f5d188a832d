"""What a name means: a small bag of words and character n-grams, in the space of CLIP text vectors.

It runs in numpy, so that a name costs microseconds and nothing is downloaded. A word outside the table is read
by its character n-grams (as in fastText, arXiv 1607.04606), and the user is told that it was not known.
"""

import logging
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches

import numpy as np
from numpy.typing import NDArray

from rszsl.classes import ClassName
from rszsl.errors import ClassListError
from rszsl.model.encoder import ClassRows, Floats
from rszsl.model.names import name_key, words_of
from rszsl.model.prompts import NamePrompts

LOG = logging.getLogger(__name__)
GRAM_SIZES = (3, 4, 5)
FAR_COSINE = 0.35
"""A name whose text vector has no larger cosine to any phrase of training is far from it: below lie 5 of 100 names of
404 kinds of places (`rszsl/training/places.txt`), and 27 of 30 names that are no place ("saxophone", "tax return")."""
HINT_CUTOFF = 0.9
"""Likeness of letters (difflib) from which a name may be a misspelling of another: "vinyard" and "vineyard" have 0.93,
"lane" and "plane" 0.89."""
LOOKS_WEIGHT = 2.0
"""What the phrases that say what a name looks like count, beside 1 for the name (docs/decisions/0052)."""
TEXT_DIM = 512
"""Width of the CLIP ViT-B/32 text space."""


def gram_ids(word: str, buckets: int) -> list[int]:
    """Hash the character n-grams of `<word>` into 0..buckets-1; crc32, so that it is the same on every machine."""
    marked = f"<{word}>"
    grams = [marked[i : i + size] for size in GRAM_SIZES for i in range(len(marked) - size + 1)]
    return [zlib.crc32(gram.encode()) % buckets for gram in grams]


def find_word(word: str, index: Mapping[str, int]) -> int | None:
    """Find a word or its singular in the table; None where neither is known."""
    forms = [word]
    if word.endswith("ies"):
        forms.append(word[:-3] + "y")
    if word.endswith("es"):
        forms.append(word[:-2])
    if word.endswith("s"):
        forms.append(word[:-1])
    return next((index[form] for form in forms if form in index), None)


@dataclass(frozen=True, slots=True, eq=False)
class PhraseTables:
    """Weights of the phrase encoder, float32: V words, H buckets of n-grams, width d, hidden width h.

    Attributes:
        words: (V, d), one vector a word.
        word_weights: (V,), how much a word counts in a phrase, before the softmax.
        grams: (H, d), one vector a bucket; the mean over its n-grams stands for an unknown word.
        gram_weight: (1,), how much an unknown word counts.
        linear: (d, 512), the straight way to the text space.
        inner: (d, h) and inner_bias: (h,), the bent way to it, through a ReLU.
        outer: (h, 512) and outer_bias: (512,).
    """

    words: Floats
    word_weights: Floats
    grams: Floats
    gram_weight: Floats
    linear: Floats
    inner: Floats
    inner_bias: Floats
    outer: Floats
    outer_bias: Floats


class PhraseEncoder:
    """Phrases to text vectors."""

    def __init__(self, vocabulary: Sequence[str], tables: PhraseTables) -> None:
        self._index = {word: row for row, word in enumerate(vocabulary)}
        self._tables = tables

    def encode(self, phrase: str) -> Floats:
        """Give the text vector of a phrase: float32 (512,), centred on the vocabulary, unit length.

        Raises:
            ClassListError: where the phrase has no letter a-z.
        """
        words = words_of(phrase)
        if not words:
            raise ClassListError(
                f'the class "{phrase}" has no letters a-z to read; write its name in English, or give --examples of it'
            )
        tables = self._tables
        vectors, weights = zip(*(self._read(word) for word in words), strict=True)
        shares = np.exp(np.array(weights) - max(weights))
        mean = (shares / shares.sum()).astype("float32") @ np.stack(vectors)
        bent = np.maximum(mean @ tables.inner + tables.inner_bias, 0) @ tables.outer + tables.outer_bias
        return unit(mean @ tables.linear + bent)

    def unknown_words(self, phrase: str) -> list[str]:
        """List the words of a phrase that are not in the table."""
        return [word for word in words_of(phrase) if find_word(word, self._index) is None]

    def _read(self, word: str) -> tuple[Floats, float]:
        row, tables = find_word(word, self._index), self._tables
        if row is not None:
            return tables.words[row], float(tables.word_weights[row])
        return tables.grams[gram_ids(word, len(tables.grams))].mean(axis=0), float(tables.gram_weight[0])


@dataclass(frozen=True, slots=True, eq=False)
class AttributeText:
    """Names to attribute rows: by what images taught, else by what the words mean. A `TextSide`.

    Attributes:
        encoder: phrases to text vectors.
        projection: float32 (K, 512), a text vector's attribute scores.
        mean: float32 (K,), the scores' mean over names of places, taken off.
        taught: the row of each name that images taught, by `name_key`.
        taught_rows: float32 (S, K), unit length.
        known: phrases that training used; a name that is far from all of them is noted. Empty notes none.
        known_vectors: float32 (P, 512), their text vectors.
        prompts: what names look like, in other words, and other names for them; names without any are read alone.
        concepts: S names, of the taught rows; needed where there are any.
    """

    encoder: PhraseEncoder
    projection: Floats
    mean: Floats
    taught: Mapping[str, int]
    taught_rows: Floats
    known: Sequence[str] = ()
    known_vectors: Floats | None = None
    prompts: NamePrompts = field(default_factory=NamePrompts)
    concepts: Sequence[str] = ()

    def class_rows(self, classes: Sequence[ClassName]) -> ClassRows:
        """Give one attribute row for each class: the mean over its name and synonyms, of unit length.

        Raises:
            ClassListError: where a name or synonym has no letter a-z.
        """
        for phrase in (phrase for item in classes for phrase in item.phrases):
            LOG.info("class %s", self.origin(phrase))
        rows = [unit(np.mean([self.phrase_row(p) for p in item.phrases], axis=0)) for item in classes]
        notes = tuple(self._note(item) for item in classes)
        understood = tuple(self._understands(item) for item in classes)
        return ClassRows(np.stack(rows), notes, understood, tuple(self._is_taught(item) for item in classes))

    def phrase_row(self, phrase: str) -> Floats:
        """Give the attribute row of a name, in any spelling or under another name: float32 (K,), unit length."""
        row = self.taught_row(phrase)
        return self.taught_rows[row] if row is not None else self.text_row(self._known_as(phrase))

    def taught_row(self, phrase: str) -> int | None:
        """Number the row that images taught under a name, or under the one that it is another name for."""
        keys = (name_key(phrase), name_key(self._known_as(phrase)))
        return next((self.taught[key] for key in keys if key in self.taught), None)

    def text_row(self, phrase: str) -> Floats:
        """Give the row that words alone mean as they stand, whatever images taught: float32 (K,), unit length."""
        return unit(self.raw_row(phrase) - self.mean)

    def origin(self, phrase: str) -> str:
        """Say where the row of a phrase comes from, for a user to judge."""
        row = self.taught_row(phrase)
        if row is not None:
            return f'"{phrase}"{_as(phrase, self.concepts[row])}: from training images and from words'
        name = self._known_as(phrase)
        looks = "; ".join(self.prompts.looks.get(" ".join(words_of(name)), ()))
        return f'"{phrase}"{_as(phrase, name)}: from words alone' + (f", read with: {looks}" if looks else "")

    def raw_row(self, phrase: str) -> Floats:
        """Give a phrase's attribute scores before their mean over places is taken off: float32 (K,)."""
        return self.projection @ self.encode(phrase)

    def encode(self, phrase: str) -> Floats:
        """Give the text vector of a phrase and what it looks like, `LOOKS_WEIGHT` of it: float32 (512,), unit length.

        Descriptions beside names: arXiv 2210.07183.
        """
        vector = self.encoder.encode(phrase)
        looks = self.prompts.looks.get(" ".join(words_of(phrase)), ())
        if not looks:
            return vector
        return unit(vector + LOOKS_WEIGHT * unit(np.mean([self.encoder.encode(look) for look in looks], axis=0)))

    def _known_as(self, phrase: str) -> str:
        """Give the name that the prompts know a name by; the name itself where they do not."""
        return self.prompts.names.get(name_key(phrase), phrase)

    def _is_known(self, phrase: str) -> bool:
        """Whether images taught a name, or the prompts say what it looks like."""
        return self.taught_row(phrase) is not None or name_key(phrase) in self.prompts.names

    def _is_taught(self, item: ClassName) -> bool:
        """Whether images taught any name of a class."""
        return any(self.taught_row(phrase) is not None for phrase in item.phrases)

    def _understands(self, item: ClassName) -> bool:
        """Whether any word of a class is known."""
        return any(
            self._is_known(phrase) or len(self.encoder.unknown_words(phrase)) < len(words_of(phrase))
            for phrase in item.phrases
        )

    def _note(self, item: ClassName) -> str | None:
        notes = [note for phrase in item.phrases if (note := self._phrase_note(phrase))]
        return "; ".join(notes) or None

    def _phrase_note(self, phrase: str) -> str | None:
        if self._is_known(phrase):
            return None
        unknown = self.encoder.unknown_words(phrase)
        if not unknown:
            hint = self._hint(phrase)
            return self._far_note(phrase) or (f'"{phrase}" is read by its words alone{hint}' if hint else None)
        if len(unknown) == len(words_of(phrase)):
            return f'no word of "{phrase}" is known to the model\'s text side{self._hint(phrase)}; the label is a guess'
        listed = ", ".join(f'"{word}"' for word in unknown)
        return (
            f'{listed} of "{phrase}" is not known to the model\'s text side{self._hint(phrase)}; '
            "the label rests on the other words"
        )

    def _hint(self, phrase: str) -> str:
        """Ask whether a name that is spelt nearly so was meant."""
        known = {**self.prompts.names, **{key: self.concepts[row] for key, row in self.taught.items()}}
        close = get_close_matches(name_key(phrase), known, n=1, cutoff=HINT_CUTOFF)
        return f' (did you mean "{known[close[0]]}"?)' if close else ""

    def _far_note(self, phrase: str) -> str | None:
        if self.known_vectors is None:
            return None
        cosines = self.known_vectors @ self.encoder.encode(phrase)
        nearest = int(cosines.argmax())
        if cosines[nearest] >= FAR_COSINE:
            return None
        return (
            f'"{phrase}" is far from anything the model was trained on (nearest: "{self.known[nearest]}", '
            f"{cosines[nearest]:.2f}); the label is a guess"
        )


def _as(phrase: str, name: str) -> str:
    """Say that a phrase is read as another name, where it is one."""
    return "" if words_of(phrase) == words_of(name) else f' (read as "{name}")'


def unit(vectors: NDArray[np.floating]) -> Floats:
    """Scale the last axis to unit length; a zero vector stays zero."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.maximum(length, 1e-12), dtype="float32")
