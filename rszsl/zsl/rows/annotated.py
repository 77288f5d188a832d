"""Rows from images through an image-text model: the automatic annotation of DSVA (METHOD A), and what it looked at.

To fill an unseen class's row from images is to look at images of it. So the caller says which classes may be looked
at, the others take text-only rows, and the record says how many images of which classes were used.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rszsl.errors import TrainingError
from rszsl.model.text import unit
from rszsl.zsl.problem import ClassTable
from rszsl.zsl.rows.common import build_table
from rszsl.zsl.rows.vocabulary import Attribute

Floats = NDArray[np.float32]
Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """Images and attributes in one space.

    Attributes:
        embeddings: float32 (N, E) of all images.
        labels: N canonical class names.
        attributes: K of them.
        vectors: float32 (K, E), unit length, their text vectors in the space of `embeddings`.
    """

    embeddings: Floats
    labels: Sequence[str]
    attributes: Sequence[Attribute]
    vectors: Floats


@dataclass(frozen=True, slots=True)
class Annotation:
    """How rows are made of images.

    Attributes:
        per_class: k images of each class, drawn by the seed; None: all that may be looked at.
        temperature: None: mean similarities, which no temperature changes once rows have unit length; else each
            image's similarities are a softmax over the attributes at this temperature first (CLIP's own is 0.01).
        centred: take the mean over the seen classes off each attribute.
        seed: of the draw.
    """

    per_class: int | None = None
    temperature: float | None = None
    centred: bool = True
    seed: int = 0


def annotated_rows(
    evidence: Evidence,
    seen: Sequence[str],
    *,
    may_look: Indices,
    how: Annotation,
    unseen: Sequence[str] = (),
    by_text: ClassTable | None = None,
) -> ClassTable:
    """Give rows from the images of some classes, and text-only rows of the others.

    Args:
        evidence: the images; only those in `may_look` are looked at.
        seen: classes that may be looked at, and that attributes are centred over.
        may_look: int64 (n,), ids of the images that may be looked at: the training images, and, where `unseen` is
            not empty, images of those classes that are then no test images (`record["images"]` lists them).
        how: how rows are made of images.
        unseen: classes whose rows come from images though they count as unseen; disclosed in the record.
        by_text: rows of the other classes, with the same attributes; None: there are no others.

    Raises:
        TrainingError: where a class has too few images to look at, or the text rows have other attributes.
    """
    names = [attribute.name for attribute in evidence.attributes]
    looked = {name: _draw(evidence, name, may_look, how) for name in (*seen, *unseen)}
    rows = np.stack([_scores(evidence, ids, how.temperature).mean(0) for ids in looked.values()])
    if how.centred:
        rows = rows - rows[: len(seen)].mean(0)
    others = _other_rows(by_text, names, set(looked))
    every = np.concatenate([unit(rows), *([others.rows] if others else [])])
    return build_table(
        [*looked, *(others.names if others else ())],
        every,
        names,
        _record(how, looked, unseen, others),
        [attribute.family or None for attribute in evidence.attributes],
    )


def _draw(evidence: Evidence, name: str, may_look: Indices, how: Annotation) -> Indices:
    ids = np.sort(may_look[np.asarray(evidence.labels)[may_look] == name])
    if len(ids) < (how.per_class or 1):
        raise TrainingError(f"the class {name!r} has {len(ids)} images to make its row of, not {how.per_class or 1}")
    if how.per_class is None:
        return ids
    return np.sort(np.random.default_rng([how.seed, *name.encode()]).permutation(ids)[: how.per_class])


def _scores(evidence: Evidence, ids: Indices, temperature: float | None) -> Floats:
    similarity = unit(evidence.embeddings[ids]) @ evidence.vectors.T
    if temperature is None:
        return similarity
    powers = np.exp((similarity - similarity.max(1, keepdims=True)) / temperature)
    return np.asarray(powers / powers.sum(1, keepdims=True), dtype="float32")


def _other_rows(by_text: ClassTable | None, names: Sequence[str], looked: set[str]) -> ClassTable | None:
    if by_text is None:
        return None
    if list(by_text.attributes) != list(names):
        raise TrainingError("the text-only rows have other attributes than the rows from images; make both of one list")
    keep = [i for i, name in enumerate(by_text.names) if name not in looked]
    return replace(by_text, names=tuple(by_text.names[i] for i in keep), rows=by_text.rows[keep])


def _record(
    how: Annotation, looked: dict[str, Indices], unseen: Sequence[str], others: ClassTable | None
) -> dict[str, Any]:
    return {
        "provider": "annotated",
        "images_per_class": how.per_class or "all",
        "images_looked_at": sum(map(len, looked.values())),
        "temperature": how.temperature,
        "seed": how.seed,
        "unseen_images_used": bool(unseen),
        "unseen_from_images": sorted(unseen),
        "from_text": list(others.names) if others else [],
        "text": dict(others.record) if others and others.names else None,
        "images": {name: ids.tolist() for name, ids in looked.items() if name in unseen},
        "normalisation": "centred over the seen classes, unit rows" if how.centred else "unit rows",
    }
