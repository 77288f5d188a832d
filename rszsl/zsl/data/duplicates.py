"""Near-duplicates across data sets and within one: an image that is in both makes transfer a matter of memory.

Two images may be one where their 24 px grey thumbnails, less their mean and of unit length, correlate above the
threshold; they may be turned or mirrored against each other where that is asked for. Half water and half sand is
enough for that, so a second look compares what is left at 64 px when the coarse shades are taken off. The first
search runs on any unit vectors too, such as a tower's embeddings, with another threshold.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rszsl.errors import TrainingError
from rszsl.zsl.data.folders import ImageSet

Floats = NDArray[np.float32]
SIDE_PX = 24
THRESHOLD = 0.93
"""AID as published against WHU-RS19: 635 pairs above, and a gap below."""
DETAIL_PX, COARSE_PX, DETAIL_THRESHOLD = 64, 8, 0.5
"""Of the second look. UC Merced's coasts, all different, correlate up to 0.31; its images scaled to 150 px and
saved as webp correlate 0.62 and more with themselves."""
BLOCK = 1024
"""Rows of either side that are compared at once."""
FLAT = 2.0
"""Grey levels: a thumbnail that varies less than this (standard deviation) is like every other flat one."""
VIEWS = ("as it is", "turned 90", "turned 180", "turned 270", "mirrored", "mirrored 90", "mirrored 180", "mirrored 270")
BINS = (0.80, 0.85, 0.90, 0.93, 0.95, 0.97, 0.99)
"""Lower edges of the counted similarities; the last bin ends at 1."""


@dataclass(frozen=True, slots=True, eq=False)
class Thumbnails:
    """float32 (N, 24, 24), each less its mean and of unit length; zero where an image is flat or cannot be read."""

    pixels: Floats
    unusable: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Pair:
    """Image `a` of one set and image `b` of the other.

    Attributes:
        a: id.
        b: id.
        similarity: of the thumbnails or vectors.
        view: how `a` has to be turned.
        detail: correlation of the fine structure; None before the second look.
    """

    a: int
    b: int
    similarity: float
    view: str
    detail: float | None = None


@dataclass(frozen=True, slots=True)
class Duplicates:
    """All pairs above the threshold, by `b` and then `a`.

    Attributes:
        pairs: each two images once, in the view that fits best.
        counts: how many pairs have a similarity from each edge of `BINS` to the next.
        rejected: how many pairs above the threshold the second look told apart.
    """

    pairs: tuple[Pair, ...]
    counts: tuple[int, ...]
    rejected: int = 0

    @property
    def leave_out(self) -> tuple[int, ...]:
        """Images of the second set that also stand in the first; within one set, all but the first of each group."""
        return tuple(sorted({pair.b for pair in self.pairs}))


def thumbnails(images: ImageSet, log: Callable[[str], None] = lambda line: None) -> Thumbnails:
    """Make the thumbnails of a set; what cannot be read or is flat is named in `unusable`."""
    pixels = np.zeros((len(images), SIDE_PX, SIDE_PX), "float32")
    unusable = []
    for row, (path, file) in enumerate(zip(images.paths, images.files, strict=True)):
        try:
            values = _grey(path, SIDE_PX)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
            unusable.append(file)
            continue
        if values.std() < FLAT:
            unusable.append(file)
            continue
        values = values - values.mean()
        pixels[row] = values / np.linalg.norm(values)
        if row % 1000 == 999:
            log(f"{images.name}: {row + 1} of {len(images)} thumbnails")
    return Thumbnails(pixels, tuple(unusable))


def views_of(pixels: Floats) -> Floats:
    """Turn and mirror square thumbnails (N, S, S) in all eight ways of `VIEWS`: (8, N, S, S)."""
    turned = [np.rot90(pixels, times, axes=(1, 2)) for times in range(4)]
    mirrored = [np.rot90(pixels[:, :, ::-1], times, axes=(1, 2)) for times in range(4)]
    return np.stack([*turned, *mirrored])


def find_duplicates(a: Floats, b: Floats | None, threshold: float = THRESHOLD, *, turned: bool = False) -> Duplicates:
    """Find the pairs of two sets, or within one.

    Args:
        a: float32 (N, D) unit vectors, or (N, S, S) thumbnails.
        b: likewise (M, …); None: pairs within `a`.
        threshold: a pair's similarity is above it.
        turned: compare `a` in all eight views; thumbnails only.

    Raises:
        TrainingError: where the threshold is not in 0..1, or the vectors do not fit together.
    """
    if not 0 < threshold < 1:
        raise TrainingError(f"a threshold of {threshold} makes no sense; it lies between 0 and 1")
    if turned and a.ndim != 3:
        raise TrainingError("only thumbnails can be turned, not embeddings; leave out --turned or --embeddings")
    other = (a if b is None else b).reshape(len(a if b is None else b), -1)
    seen = views_of(a).reshape(8, len(a), -1) if turned else a.reshape(1, len(a), -1)
    if seen.shape[2] != other.shape[1]:
        raise TrainingError(f"the two sets have {seen.shape[2]} and {other.shape[1]} numbers an image; make both alike")
    counts = np.zeros(len(BINS), "int64")
    pairs: list[Pair] = []
    for first, second, best, view in _blocks(seen, other):
        if b is None:
            best[np.arange(first, first + best.shape[0])[:, None] >= np.arange(second, second + best.shape[1])] = -1
        counts += np.histogram(best, bins=[*BINS, 2])[0]
        for i, j in np.argwhere(best > threshold):
            pairs.append(Pair(int(first + i), int(second + j), float(min(best[i, j], 1.0)), VIEWS[view[i, j]]))
    return Duplicates(tuple(sorted(pairs, key=lambda p: (p.b, p.a))), tuple(counts.tolist()))


def confirm(found: Duplicates, a: ImageSet, b: ImageSet) -> Duplicates:
    """Take a second look at the pairs, with the fine structure of the images."""
    looked = [replace(p, detail=_detail(a.paths[p.a], b.paths[p.b], p.view)) for p in found.pairs]
    kept = tuple(p for p in looked if p.detail is not None and p.detail > DETAIL_THRESHOLD)
    return replace(found, pairs=kept, rejected=len(looked) - len(kept))


def _detail(first: Path, second: Path, view: str) -> float:
    turned = views_of(_fine(first)[None])[VIEWS.index(view), 0]
    return float((turned * _fine(second)).sum())


@lru_cache(maxsize=4096)
def _fine(path: Path) -> Floats:
    values = _grey(path, DETAIL_PX)
    coarse = Image.fromarray(values).resize((COARSE_PX, COARSE_PX), Image.Resampling.BOX)
    fine = values - np.asarray(coarse.resize(values.shape, Image.Resampling.BICUBIC))
    fine -= fine.mean()
    return np.asarray(fine / max(float(np.linalg.norm(fine)), 1e-6), dtype="float32")


def _grey(path: Path, side: int) -> Floats:
    with Image.open(path) as opened:
        return np.asarray(opened.convert("L").resize((side, side), Image.Resampling.BOX), dtype="float32")


def _blocks(seen: Floats, other: Floats) -> Iterator[tuple[int, int, Floats, NDArray[np.int64]]]:
    for first in range(0, seen.shape[1], BLOCK):
        for second in range(0, len(other), BLOCK):
            every = seen[:, first : first + BLOCK] @ other[second : second + BLOCK].T
            yield first, second, every.max(0), every.argmax(0)
