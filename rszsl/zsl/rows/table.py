"""Rows from the user's own CSV: `class,attribute,attribute,…`; a column may name its family, `shape/circular`."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rszsl.errors import TrainingError
from rszsl.zsl.data.hashes import sha256_of
from rszsl.zsl.data.names import canonical_name
from rszsl.zsl.problem import ClassTable
from rszsl.zsl.rows.common import build_table, check_known


def table_rows(classes: Sequence[str], file: Path) -> ClassTable:
    """Give the rows of some classes.

    Args:
        classes: canonical names.
        file: the table; its class names may be spelt in any known way, and it may have more classes.

    Raises:
        TrainingError: where it cannot be read, a class has no row or two, or a value is no number.
    """
    header, lines = _read(file)
    names = [canonical_name(line[0]) for line in lines]
    check_known(classes, names, str(file))
    if twice := sorted({name for name in classes if names.count(name) > 1}):
        raise TrainingError(f"{file} has two rows for {twice[0]!r}; leave one out")
    columns = [column.partition("/") for column in header[1:]]
    return build_table(
        classes,
        np.array([_numbers(file, lines[names.index(name)]) for name in classes]),
        [name if slash else family for family, slash, name in columns],
        {
            "provider": "table",
            "source": file.name,
            "source_sha256": sha256_of(file),
            "images_per_class": None,  # only its author knows
            "unseen_images_used": None,
        },
        [family.strip() if slash else None for family, slash, _ in columns],
    )


def write_table(table: ClassTable, file: Path) -> None:
    """Write a table as such a CSV, for other tools and for `table_rows`."""
    family = {column: name for name, columns in table.groups.items() for column in columns}
    header = [f"{family[i]}/{name}" if i in family else name for i, name in enumerate(table.attributes)]
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", newline="", encoding="utf-8") as opened:
        writer = csv.writer(opened)
        writer.writerow(["class", *header])
        for name, row in zip(table.names, table.rows, strict=True):
            writer.writerow([name, *(f"{value:.7g}" for value in row)])


def _read(file: Path) -> tuple[list[str], list[list[str]]]:
    try:
        with file.open(newline="", encoding="utf-8-sig") as opened:
            lines = [line for line in csv.reader(opened) if line]
    except (OSError, UnicodeDecodeError, csv.Error) as err:
        raise TrainingError(f"cannot read the class rows {file}: {err}") from err
    if len(lines) < 2 or lines[0][0].strip().lower() != "class" or len(lines[0]) < 2:
        raise TrainingError(f"{file} is no table of class rows: it needs a header `class,attribute,…` and rows")
    for number, line in enumerate(lines[1:], start=2):
        if len(line) != len(lines[0]):
            raise TrainingError(f"{file}, row {number}: {len(line)} values under {len(lines[0])} columns")
    return lines[0], lines[1:]


def _numbers(file: Path, line: list[str]) -> list[float]:
    try:
        return [float(value) for value in line[1:]]
    except ValueError as err:
        raise TrainingError(f"{file}: the row of {line[0]!r} has a value that is no number ({err})") from err
