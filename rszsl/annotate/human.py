"""Class-attribute tables made by humans, from a CSV file or from the arrays that zero-shot work publishes."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from rszsl.annotate.quality import Floats, HumanTable
from rszsl.annotate.vocabulary import Attribute
from rszsl.errors import AnnotationError


def read_human(path: Path, classes: Sequence[str], attributes: Sequence[Attribute]) -> HumanTable:
    """Read a human table and put its rows in the order of our classes.

    Args:
        path: a CSV file whose first column names classes and whose head names attributes; or `FOLDER/NAME` for
            `NAME_attributes.npy` (C, H) and `NAME_names.json` (`classes_in_class_file_order`, `attributes`).
        classes: ours; compared by letters and digits only, in lower case.
        attributes: ours; their `human` or `name` is the column's name.

    Raises:
        AnnotationError: where it cannot be read, or describes none of our classes or attributes.
    """
    names, columns, table = _read(path)
    row_of = {_plain(name): row for row, name in enumerate(names)}
    column_of = {_plain(name): column for column, name in enumerate(columns)}
    rows = np.full((len(classes), table.shape[1]), np.nan, dtype="float32")
    for row, name in enumerate(classes):
        if _plain(name) in row_of:
            rows[row] = table[row_of[_plain(name)]]
    found = np.array([column_of.get(_plain(item.human or item.name), -1) for item in attributes], dtype="int64")
    if np.isnan(rows).any(axis=1).all() or (found < 0).all():
        raise AnnotationError(
            f"{path} describes none of our classes or attributes: its classes are {', '.join(names[:4])}, …, its "
            f"attributes {', '.join(columns[:4])}, …; name them alike (key `human` of the vocabulary)"
        )
    return HumanTable(rows, found)


def _read(path: Path) -> tuple[list[str], list[str], Floats]:
    try:
        if path.suffix == ".csv":
            table = pd.read_csv(path, index_col=0)
            return [str(i) for i in table.index], [str(c) for c in table.columns], table.to_numpy("float32")
        said = json.loads(path.with_name(f"{path.name}_names.json").read_text(encoding="utf-8"))
        values = np.load(path.with_name(f"{path.name}_attributes.npy"), allow_pickle=False)
        return said["classes_in_class_file_order"], said["attributes"], values.astype("float32")
    except (OSError, ValueError, KeyError) as err:
        raise AnnotationError(f"cannot read the human table {path}: {err}; give a CSV file, or FOLDER/NAME") from err


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.casefold())
