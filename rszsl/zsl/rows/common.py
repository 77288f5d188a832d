"""What every provider of class rows shares: unit rows in the order of the names, and errors that name the classes."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rszsl.errors import TrainingError
from rszsl.zsl.data.names import close_names
from rszsl.zsl.problem import ClassTable

Floats = NDArray[np.float32]


def build_table(
    names: Sequence[str],
    rows: NDArray[np.floating],
    attributes: Sequence[str],
    record: Mapping[str, Any],
    families: Sequence[str | None] = (),
) -> ClassTable:
    """Make a table out of rows (C, K): sorted by name, rows of unit length, columns grouped by family.

    Args:
        names: C canonical class names.
        rows: one for each name.
        attributes: K names.
        record: says where the rows come from; `normalisation` is added.
        families: of each column, None for none; empty: no groups.

    Raises:
        TrainingError: where a row is zero or not finite, or a class is there twice.
    """
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise TrainingError(f"the class {twice[0]!r} has two rows; leave one out")
    order = np.argsort(np.array(names), kind="stable")
    length = np.linalg.norm(rows, axis=1)
    if bad := [names[i] for i in order if not (np.isfinite(length[i]) and length[i] > 0)]:
        raise TrainingError(f"the row of {bad[0]!r} is zero or not finite: nothing tells it from other classes")
    return ClassTable(
        names=tuple(names[i] for i in order),
        rows=np.asarray(rows / length[:, None], dtype="float32")[order],
        attributes=tuple(attributes),
        groups={f: tuple(i for i, g in enumerate(families) if g == f) for f in dict.fromkeys(families) if f},
        record={"normalisation": "unit rows", **record},
    )


def check_known(classes: Sequence[str], known: Sequence[str], source: str) -> None:
    """Make sure that every class has a row.

    Raises:
        TrainingError: naming those that have none, with names that look like them.
    """
    if missing := sorted(set(classes) - set(known)):
        listed = ", ".join(f"{name!r}{close_names(name, known)}" for name in missing)
        raise TrainingError(f"{source} has no row for {listed}; rename the class or take other rows")


def check_rows(table: ClassTable, classes: Sequence[str]) -> None:
    """Make sure that rows and images are of the same classes.

    Raises:
        TrainingError: naming the classes that have images and no row, or a row and no image.
    """
    check_known(classes, table.names, "the table of class rows")
    if idle := sorted(set(table.names) - set(classes)):
        raise TrainingError(f"there are rows but no images of {', '.join(map(repr, idle))}; leave their rows out")


def attribute_words(name: str) -> str:
    """Turn a column name into words that have a meaning: `has_narrow_water_flow` -> "narrow water flow"."""
    return re.sub("^(has|is) ", "", name.replace("_", " ").strip().lower())
