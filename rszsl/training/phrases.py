"""The phrases that the text side learns from."""

import gzip
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from rszsl.errors import TrainingError
from rszsl.model.names import singular_words, words_of

EDGE_WORDS_FILE = Path(__file__).with_name("edge_words.txt")
"""Words that a phrase worth learning neither starts nor ends with."""


def frequent_words(path: Path, count: int) -> list[str]:
    """Read the `count` most frequent English words of letters only, most frequent first.

    Raises:
        TrainingError: where the file is no word list of the wordfreq package.
    """
    import msgpack  # type: ignore[import-untyped]

    with gzip.open(path) as opened:
        bins = msgpack.load(opened)
    if not isinstance(bins, list) or bins[0].get("format") != "cB":
        raise TrainingError(f"{path} is no wordfreq list (cB); give wordfreq/data/large_en.msgpack.gz")
    words = (word for level in bins[1:] for word in level if re.fullmatch("[a-z]{3,}", word))
    return [word for word, _ in zip(words, range(count), strict=False)]


def caption_phrases(folder: Path, count: int) -> list[str]:
    """Collect the most frequent phrases of two or three words in the captions, by count and then alphabet."""
    edges = frozenset(EDGE_WORDS_FILE.read_text(encoding="utf-8").split())
    counts: Counter[str] = Counter()
    for file in sorted(folder.glob("*/*_caps.txt")):
        for line in file.read_text(encoding="utf-8").splitlines():
            counts.update(_phrases_of(words_of(line), edges))
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [phrase for phrase, times in ranked[:count] if times > 1]


def _phrases_of(words: Sequence[str], edges: frozenset[str]) -> Iterable[str]:
    for size in (2, 3):
        for start in range(len(words) - size + 1):
            part = words[start : start + size]
            if not edges & {part[0], part[-1]}:
                yield " ".join(part)


def without(phrases: Iterable[str], held_out: Iterable[str]) -> list[str]:
    """Drop the phrases that contain a held-out name, in any spelling of it; `held_out` are the names by `name_key`."""
    keys = frozenset(held_out)
    return [phrase for phrase in phrases if not keys.intersection(_runs(singular_words(phrase)))]


def _runs(words: Sequence[str]) -> Iterable[str]:
    for start in range(len(words)):
        for end in range(start, len(words)):
            yield "".join(words[start : end + 1])
