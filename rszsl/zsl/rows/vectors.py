"""Text vectors of names: real CLIP ones from a table, the bundled text side's elsewhere."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rszsl.errors import TrainingError
from rszsl.model.names import words_of
from rszsl.model.text import PhraseEncoder, unit

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class KnownPhrases:
    """Phrases with a real CLIP text vector.

    Attributes:
        names: as words in lower case, without punctuation; unique.
        vectors: float32 (N, 512), unit length, ViT-B/32 text space, not centred.
    """

    names: tuple[str, ...]
    vectors: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Anchors:
    """Names with a real text vector in two spaces, each float32 (n, 512), centred on these names, unit length."""

    names: tuple[str, ...]
    b16: Floats
    b32: Floats


def read_known(path: Path) -> KnownPhrases:
    """Read the real vectors; names that differ only in punctuation share the mean of theirs.

    Raises:
        TrainingError: where the file holds no such table.
    """
    kept = _arrays(path, "names", "b32_ensemble")
    names, vectors = kept["names"].tolist(), kept["b32_ensemble"]
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(names):
        words = words_of(name)
        # "1240" has no words, and "kid/book" is not how anybody names a thing.
        if words and not re.search(r"[0-9/&$()]", name):
            rows.setdefault(" ".join(words), []).append(row)
    means = np.stack([vectors[r].mean(0) for r in rows.values()])
    return KnownPhrases(tuple(rows), (means / np.linalg.norm(means, axis=1, keepdims=True)).astype("float32"))


def read_anchors(path: Path, more: Path | None = None) -> Anchors:
    """Read the names known in both text spaces.

    Args:
        path: the table of real text vectors; its 80 names of COCO are known in both.
        more: arrays `names` and `b16`, as `rszsl.training.anchors` writes them, to take in place of COCO's; those of
            its names that the table does not know are left out.

    Raises:
        TrainingError: where a file holds no such table.
    """
    known = read_known(path)
    row_of = {name: row for row, name in enumerate(known.names)}
    table = read_coco(path) if more is None else _read_more(more)
    names = tuple(name for name in table if " ".join(words_of(name)) in row_of)
    b16 = np.stack([table[name] for name in names])
    b32 = known.vectors[[row_of[" ".join(words_of(name))] for name in names]]
    return Anchors(names, unit(b16 - b16.mean(0)), unit(b32 - b32.mean(0)))


def read_coco(path: Path) -> dict[str, Floats]:
    """Read the vectors of COCO's 80 names in the ViT-B/16 text space, each float32 (512,), unit length.

    Raises:
        TrainingError: where the file holds no such table.
    """
    kept = _arrays(path, "names", "b32_ensemble", "coco", "coco_b16")
    return dict(zip(kept["coco"].tolist(), unit(kept["coco_b16"].astype("float32")), strict=True))


def _read_more(path: Path) -> dict[str, Floats]:
    try:
        with np.load(path) as kept:
            return dict(zip(kept["names"].tolist(), kept["b16"].astype("float32"), strict=True))
    except (OSError, ValueError, KeyError) as err:
        raise TrainingError(
            f"{path} is no table of anchors ({err}); make it with python -m rszsl.training.anchors"
        ) from err


def phrase_vectors(phrases: Sequence[str], known: KnownPhrases, centre: Floats, encoder: PhraseEncoder) -> Floats:
    """Give centred unit text vectors (N, 512): the real one where the phrase has one, else the encoder's."""
    row_of = {name: row for row, name in enumerate(known.names)}
    rows = [
        unit(known.vectors[row_of[p]] - centre) if p in row_of else encoder.encode(p)
        for p in phrases
    ]  # fmt: skip
    return np.stack(rows)


def _arrays(path: Path, *names: str) -> dict[str, NDArray[np.generic]]:
    try:
        with np.load(path) as kept:
            return {name: kept[name] for name in names}
    except (OSError, ValueError, KeyError) as err:
        raise TrainingError(
            f"{path} is no table of text vectors ({err}); it needs names, b32_ensemble, coco and coco_b16"
        ) from err
