"""Attribute rows that the user wrote: a CSV that overrides what names mean to the model."""

import csv
import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path

import numpy as np

from rszsl.classes import ClassName, class_key
from rszsl.errors import ClassListError
from rszsl.model.encoder import Floats
from rszsl.model.text import unit


@dataclass(frozen=True, slots=True, eq=False)
class Overrides:
    """Rows by class.

    Attributes:
        path: where they were read from.
        rows: float32 (K,) of each class, unit length, by `class_key`.
    """

    path: Path
    rows: Mapping[str, Floats]

    def row_of(self, item: ClassName) -> Floats | None:
        """Give the row under a class's name, else under a synonym; None where there is none."""
        return next((self.rows[key] for key in map(class_key, item.phrases) if key in self.rows), None)

    def check_used(self, classes: Sequence[ClassName]) -> None:
        """Refuse a file that says nothing of any class that is asked for.

        Raises:
            ClassListError: naming both.
        """
        if all(self.row_of(item) is None for item in classes):
            asked = ", ".join(item.name for item in classes)
            raise ClassListError(f"{self.path} has rows for {', '.join(self.rows)}, none for {asked}")

    @property
    def digest(self) -> str:
        """Hash of the rows, in hexadecimal; where they were read from does not matter."""
        rows = sorted((key, row.tobytes()) for key, row in self.rows.items())
        return hashlib.sha256(b"".join(key.encode() + b"\0" + row for key, row in rows)).hexdigest()

    def of(self, classes: Sequence[ClassName]) -> "Overrides":
        """Keep the rows of these classes."""
        asked = {class_key(phrase) for item in classes for phrase in item.phrases}
        return replace(self, rows={key: row for key, row in self.rows.items() if key in asked})


def read_overrides(path: Path, attribute_names: Sequence[str]) -> Overrides:
    """Read a CSV: class names in the first column, attributes of the model as further columns, a weight in each cell.

    An attribute without a column, and an empty cell, weigh 0; rows are scaled to unit length.

    Raises:
        ClassListError: where the file cannot be read, has an unknown or doubled column, a doubled or empty class, a
            cell that is no number, or a row of zeros.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = [line for line in csv.reader(file) if any(cell.strip() for cell in line)]
    except (OSError, UnicodeDecodeError, csv.Error) as err:
        raise ClassListError(f"cannot read the attribute rows {path}: {err}; give a UTF-8 CSV file") from err
    if len(lines) < 2:
        raise ClassListError(f"{path} holds no row; its first line names attributes, each further one a class")
    columns = _columns(lines[0][1:], attribute_names, path)
    rows: dict[str, Floats] = {}
    for line in lines[1:]:
        key = class_key(line[0])
        if not key or key in rows:
            raise ClassListError(f"{path} has {'a row without a class' if not key else f'{line[0]} twice'}; keep one")
        rows[key] = _row(line, columns, len(attribute_names), path)
    return Overrides(path, rows)


def _columns(header: Sequence[str], attribute_names: Sequence[str], path: Path) -> list[int]:
    """Numbers of the attributes that the columns name."""
    number = {class_key(name): i for i, name in enumerate(attribute_names)}
    keys = [class_key(name) for name in header]
    unknown = [key for key in keys if key not in number]
    if unknown:
        close = dict.fromkeys(c for key in unknown for c in get_close_matches(key, number, n=2))
        hint = f"did you mean {', '.join(close)}? " if close else ""
        raise ClassListError(
            f"{path} has attributes that the model does not know: {', '.join(unknown)}; {hint}"
            "rszsl attributes NAME --csv prints them all"
        )
    doubled = sorted({key for key in keys if keys.count(key) > 1})
    if doubled:
        raise ClassListError(f"{path} has the attribute {doubled[0]} twice; keep one column")
    return [number[key] for key in keys]


def _row(line: Sequence[str], columns: Sequence[int], width: int, path: Path) -> Floats:
    cells = line[1:]
    if len(cells) > len(columns):
        raise ClassListError(f'{path}: the row of "{line[0]}" has more cells than there are columns')
    row = np.zeros(width)
    for column, cell in zip(columns, cells, strict=False):
        row[column] = _number(cell, line[0], path)
    if not row.any():
        raise ClassListError(f'{path}: the row of "{line[0]}" is all zeros; give some attribute a weight')
    return unit(row)


def _number(cell: str, name: str, path: Path) -> float:
    try:
        value = float(cell) if cell.strip() else 0.0
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ClassListError(f'{path}: "{cell}" in the row of "{name}" is no number')
    return value
