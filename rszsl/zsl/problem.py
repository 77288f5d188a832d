"""The seam between data and methods: a zero-shot problem goes in, scores of all classes come out."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class ClassTable:
    """The semantic side: one row for each class.

    Attributes:
        names: C class names, sorted.
        rows: float32 (C, K), rows of unit length.
        attributes: K names, of what each column says.
        anchors: float32 (K, E), where each attribute's words lie in the space of the tower's embedding, or None.
        groups: name of a family -> its columns; columns may be in none. Used by attention concentration and the
            group penalty (METHOD B.5, B.6).
        record: where the rows come from, as JSON: at least `provider`, `images_per_class` and
            `unseen_images_used` (METHOD A, "honesty problem").
    """

    names: tuple[str, ...]
    rows: Floats
    attributes: tuple[str, ...]
    anchors: Floats | None = None
    groups: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    record: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """The visual side: what a frozen tower says of N images, and of C class names where it has a text side.

    Attributes:
        embedding: float32 (N, E), rows of unit length.
        tokens: float16 (N, T, D), CLS first, or None; may be memory-mapped.
        grid: G, patches a side, T = 1 + G * G.
        names: float32 (C, E), unit rows of the class names in the space of `embedding`, or None.
    """

    embedding: Floats
    tokens: NDArray[np.float16] | None = None
    grid: int = 0
    names: Floats | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """What a method may look at: images of seen classes with their labels, and rows of all classes.

    Attributes:
        features: of all N images; a method touches only those that it is handed.
        labels: int64 (N,), row of each image's class in `table`.
        table: rows of all C classes.
        fit: int64 (n,), the images to learn from.
        seen: int64, sorted ids of the classes that `fit` shows.
        unseen: int64, sorted ids of the classes to be recognised without an image.
    """

    features: Features
    labels: Indices
    table: ClassTable
    fit: Indices
    seen: Indices
    unseen: Indices


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """One setting of a method (its constants, an epoch) and what it says of the images that were asked about.

    Attributes:
        setting: names the setting; the same in every run of the method, whatever the data.
        scores: float32 (n, C), higher is likelier; only columns of seen and unseen classes are read.
        among_unseen: float32 (n, C), where the method has another answer when it knows that only unseen classes
            can come (a generative classifier); None: `scores`.
        extra: figures to keep with the result (the loss of the epoch, say).
    """

    setting: str
    scores: Floats
    among_unseen: Floats | None = None
    extra: Mapping[str, float] = field(default_factory=dict)


class Method(Protocol):
    """A zero-shot method: learns from `problem.fit` and scores other images, one candidate for each setting.

    The choice among the candidates is made outside, on validation classes; a method never sees labels of `ask`.
    """

    @property
    def name(self) -> str:
        """Name in tables, as `eszsl`."""
        ...

    def candidates(self, problem: Problem, ask: Indices, seed: int) -> Iterator[Candidate]:
        """Yield a candidate for every setting, in a fixed order.

        Args:
            problem: what may be looked at.
            ask: int64 (m,), the images to score.
            seed: of everything random.
        """
        ...
