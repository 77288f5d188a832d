"""Class rows by the kinds that recipes name, some of them side by side."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from rszsl.errors import TrainingError
from rszsl.zsl.data.folders import ImageSet, data_root
from rszsl.zsl.problem import ClassTable, Floats, Indices

if TYPE_CHECKING:
    from rszsl.model.text import PhraseEncoder
    from rszsl.zsl.rows.annotated import Evidence

TEXT_RIDGE = 0.3
"""Penalty of the coefficients that rebuild a name from attributes, as in the recipe of the bundled model."""
ANNOTATED = "annotated"
KINDS = "human, text, graph, table:FILE.csv, and such as human+text"

Words = list[str]
Look = Callable[[Indices, Sequence[str]], ClassTable]
"""Ids of the images that may be looked at, and the classes that they show -> rows of all classes."""


def class_rows(images: ImageSet, table: str, kind: str, text_vectors: Path | None) -> ClassTable:
    """Give the rows of all classes of a set, with where their attributes' words lie.

    Args:
        images: name the classes.
        table: which human table, by the name of its data set.
        kind: `human`; `text`, names against a vocabulary of attributes; `graph`, vectors of a knowledge graph;
            `table:FILE.csv`, the user's own; or some of them side by side, as `human+text`.
        text_vectors: table of text vectors; None: the bundled text side reads all names, and no anchors are known.

    Raises:
        TrainingError: for an unknown kind.
    """
    if ANNOTATED in kind.split("+"):
        raise TrainingError(f"rows of kind {ANNOTATED!r} are for `rszsl benchmark` alone; here there are {KINDS}")
    return _joined(*_tables(images, table, kind, text_vectors), text_vectors)


def dataset_rows(
    images: ImageSet, table: str, kind: str, text_vectors: Path, embeddings: Floats
) -> tuple[ClassTable, Look | None]:
    """Give the rows of a benchmark's data set, and what makes them anew for the images that may be looked at.

    Args:
        images: as in `class_rows`.
        table: as in `class_rows`.
        kind: as in `class_rows`; or `annotated`, which describes the seen classes by their images, and the others by
            their names alone.
        text_vectors: table of text vectors.
        embeddings: float32 (N, E) of the images, unit length.

    Returns:
        rows made without looking at an image, and None where looking changes nothing.

    Raises:
        TrainingError: for an unknown kind.
    """
    tables, words = _tables(images, table, kind, text_vectors)
    rows = _joined(tables, words, text_vectors)
    parts = kind.split("+")
    if ANNOTATED not in parts:
        return rows, None
    from rszsl.zsl.rows.annotated import Evidence
    from rszsl.zsl.rows.vocabulary import bundled_attributes

    vocabulary = bundled_attributes()
    vectors = name_vectors(tuple(attribute.phrase for attribute in vocabulary), text_vectors)
    evidence = Evidence(embeddings, images.labels, vocabulary, vectors)
    return rows, AnnotatedRows(evidence, tuple(tables), parts.index(ANNOTATED), rows.anchors)


@dataclass(frozen=True, slots=True, eq=False)
class AnnotatedRows:
    """Rows whose part of kind `annotated` depends on what may be looked at; a `Look`.

    Attributes:
        evidence: all images; only those that may be looked at are.
        tables: of all parts, the annotated one by text alone.
        place: of the annotated one among them.
        anchors: of all columns, float32 (K, E), or None.
    """

    evidence: "Evidence"
    tables: tuple[ClassTable, ...]
    place: int
    anchors: Floats | None

    def __call__(self, fit: Indices, seen: Sequence[str]) -> ClassTable:
        """Give rows from the images in `fit` of the classes `seen`; of the others from their names."""
        from rszsl.zsl.rows.annotated import Annotation, annotated_rows

        by_text = self.tables[self.place]
        looked = annotated_rows(self.evidence, seen, may_look=fit, how=Annotation(), by_text=by_text)
        tables = [*self.tables[: self.place], looked, *self.tables[self.place + 1 :]]
        return replace(_side_by_side(tables), anchors=self.anchors)


def name_vectors(phrases: tuple[str, ...], text_vectors: Path) -> Floats:
    """Give vectors of phrases in the space of the tower's embedding: float32 (n, E)."""
    from rszsl.zsl.rows.bridge import bridge_names

    return bridge_names(phrases, text_vectors, phrase_encoder())


@cache
def phrase_encoder() -> "PhraseEncoder":
    """A bundled model's text side, for phrases that have no vector of their own."""
    from rszsl.model.bundle import DsvaModel
    from rszsl.model.checkpoint import load_model
    from rszsl.zsl.rows.textual import TEXT_MODEL

    model = load_model(TEXT_MODEL, device="cpu")
    assert isinstance(model, DsvaModel)
    return model.text.encoder


def _tables(
    images: ImageSet, table: str, kind: str, text_vectors: Path | None
) -> tuple[list[ClassTable], Words | None]:
    """A table for each part of a kind, and the words of all columns; None where some columns have no words."""
    made = [_table(images, table, part, text_vectors) for part in kind.split("+")]
    words = [words for _, words in made]
    return [rows for rows, _ in made], None if None in words else [word for some in words for word in some or ()]


def _table(images: ImageSet, table: str, part: str, text_vectors: Path | None) -> tuple[ClassTable, Words | None]:
    from rszsl.zsl.rows.common import attribute_words
    from rszsl.zsl.rows.graph import graph_rows
    from rszsl.zsl.rows.human import human_rows
    from rszsl.zsl.rows.table import table_rows

    if part in ("text", ANNOTATED):
        return _text_table(images, text_vectors, ridge=TEXT_RIDGE if part == "text" else None)
    if part == "graph":
        return graph_rows(images.classes, data_root() / "rssdivcs", stand_ins=True), None
    if part == "human":
        rows = human_rows(images.classes, table, data_root() / "attributes")
    elif part.startswith("table:"):
        rows = table_rows(images.classes, Path(part.removeprefix("table:")))
    else:
        raise TrainingError(
            f"no class rows of kind {part!r}; there are {KINDS}; `rszsl benchmark` has {ANNOTATED}, too"
        )
    return rows, [attribute_words(name) for name in rows.attributes]


def _text_table(images: ImageSet, text_vectors: Path | None, *, ridge: float | None) -> tuple[ClassTable, Words]:
    """Rows by names alone. Beside rows from images they are similarities, as those are, and no coefficients."""
    from rszsl.zsl.rows.textual import bundled_text, table_text, textual_rows
    from rszsl.zsl.rows.vocabulary import bundled_attributes

    vocabulary = bundled_attributes()
    text = table_text(text_vectors, phrase_encoder()) if text_vectors else bundled_text()
    return textual_rows(images.classes, vocabulary, text, ridge=ridge), [one.phrase for one in vocabulary]


def _joined(tables: Sequence[ClassTable], words: Words | None, text_vectors: Path | None) -> ClassTable:
    rows = _side_by_side(tables)
    if text_vectors is None or words is None:
        return rows
    return replace(rows, anchors=name_vectors(tuple(words), text_vectors))


def _side_by_side(tables: Sequence[ClassTable]) -> ClassTable:
    from rszsl.zsl.rows.combine import combine_rows

    return tables[0] if len(tables) == 1 else combine_rows(tables)
