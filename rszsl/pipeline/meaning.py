"""What the classes of a run mean to the model: by their names, by examples, or by both."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rszsl.classes import ClassName, check_classes, class_key
from rszsl.errors import ClassListError, ExamplesError
from rszsl.labels.examples import class_row
from rszsl.model.bundle import Model
from rszsl.model.encoder import ClassRows
from rszsl.model.override import Overrides, read_overrides
from rszsl.pipeline.examples import Learnt

Floats = NDArray[np.float32]

SAME_COSINE = 0.95
"""Rows of two classes above this are warned about. Of the pairs of concepts that images taught the bundled model, 1 in
100 lies above 0.93: its kinds of residential areas; synonyms ("car park", "parking lot") lie above 0.95."""


@dataclass(frozen=True, slots=True, eq=False)
class Meaning:
    """The classes of a run.

    Attributes:
        classes: as given, or those of the examples.
        rows: what they mean.
        examples: how many examples each rests on, in their order.
        warnings: what the user should know.
    """

    classes: tuple[ClassName, ...]
    rows: ClassRows
    examples: tuple[int, ...]
    warnings: tuple[str, ...]


def find_meaning(
    model: Model, classes: Sequence[ClassName], learnt: Learnt | None = None, attributes: Path | Overrides | None = None
) -> Meaning:
    """Give each class its row: from its name or the user's own row for it, from its examples, or from both.

    Args:
        model: reads the names.
        classes: the user's list; empty takes the classes of the examples.
        learnt: what the examples taught, if there are any.
        attributes: rows that override names, or the CSV that holds them, if there are any.

    Raises:
        ClassListError: for a name that cannot be read and has no example, or where there is neither a list nor an
            example, or for a CSV that cannot be used.
        ExamplesError: where the examples show none of the list.
    """
    listed = tuple(classes) if classes else _classes_of(learnt)
    shown = [_examples_of(item, learnt) for item in listed]
    ignored = _unasked(listed, learnt)
    own = read_overrides(attributes, model.attribute_names) if isinstance(attributes, Path) else attributes
    if own is not None:
        own.check_used(listed)
    rows = [_one_class(model, item, examples, own) for item, examples in zip(listed, shown, strict=True)]
    joined = ClassRows(
        np.concatenate([r.rows for r in rows]),
        tuple(r.notes[0] for r in rows),
        taught=tuple(bool(r.taught and r.taught[0]) for r in rows),
    )
    # Whole text embeddings of any two names are alike; the threshold was found on attribute rows.
    twins = _twins(listed, joined.rows) if model.attribute_names else ()
    return Meaning(
        classes=listed,
        rows=joined,
        examples=tuple(len(examples) if examples is not None else 0 for examples in shown),
        warnings=(*(learnt.warnings if learnt else ()), *ignored, *joined.warnings, *twins),
    )


def _classes_of(learnt: Learnt | None) -> tuple[ClassName, ...]:
    if learnt is None:
        raise ClassListError('name the classes to find, as in --classes "solar farm,quarry", or give --examples')
    return check_classes((ClassName(name) for name in learnt.rows), source=str(learnt.path))


def _examples_of(item: ClassName, learnt: Learnt | None) -> Floats | None:
    """Examples under the class's name or a synonym: float32 (k, K)."""
    keys = {class_key(phrase) for phrase in item.phrases}
    found = [rows for name, rows in learnt.rows.items() if class_key(name) in keys] if learnt else []
    return np.concatenate(found) if found else None


def _unasked(listed: Sequence[ClassName], learnt: Learnt | None) -> tuple[str, ...]:
    """Warn of examples of classes that are not asked for."""
    if learnt is None:
        return ()
    asked = {class_key(phrase) for item in listed for phrase in item.phrases}
    names = [name for name in learnt.rows if class_key(name) not in asked]
    if len(names) == len(learnt.rows):
        raise ExamplesError(
            f"the examples in {learnt.path} show {', '.join(names)}, none of the classes asked for; use the same "
            "names, or leave --classes out"
        )
    return (f"{learnt.path} also shows {', '.join(names)}, which --classes does not name: left out",) if names else ()


def _twins(classes: Sequence[ClassName], rows: Floats) -> tuple[str, ...]:
    """Warn of classes that the model can hardly tell apart."""
    cosines = rows @ rows.T
    pairs = np.argwhere(np.triu(cosines > SAME_COSINE, k=1))
    return tuple(
        f'"{classes[a].name}" and "{classes[b].name}" mean nearly the same to the model (similarity '
        f"{cosines[a, b]:.2f}): tiles of both may get either name"
        for a, b in pairs
    )


def _one_class(model: Model, item: ClassName, examples: Floats | None, own: Overrides | None) -> ClassRows:
    """Row (1, K) and note of one class."""
    written = own.row_of(item) if own else None
    if written is not None:
        return ClassRows((written if examples is None else class_row(written, examples))[None], (None,))
    if examples is None:
        return model.class_rows((item,))
    text = _text_of(model, item)
    row = class_row(text.rows[0] if text else None, examples)[None]
    alone = f'no word of "{item.name}" is known to the model; its {len(examples)} examples alone speak for it'
    return ClassRows(row, (None if text else alone,), taught=text.taught if text else ())


def _text_of(model: Model, item: ClassName) -> ClassRows | None:
    """What the name says; None where it says nothing to the model."""
    try:
        rows = model.class_rows((item,))
    except ClassListError:
        return None
    return rows if all(rows.understood) else None
