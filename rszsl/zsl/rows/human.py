"""Rows that people wrote: the class-attribute tables of UCM, AID, NWPU-RESISC45 and WHU-RS19 (ZS-ViDAT)."""

import json
import tomllib
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np

from rszsl.errors import TrainingError
from rszsl.zsl.data.hashes import sha256_of
from rszsl.zsl.data.names import canonical_name
from rszsl.zsl.problem import ClassTable
from rszsl.zsl.rows.common import build_table, check_known

FILE_STEMS = {"aid": "AID", "nwpu": "NWPU", "ucm": "UCM", "whurs19": "WHURS19"}
"""Of `<stem>_attributes.npy` and `<stem>_names.json`, by the name of the layout."""
FAMILIES_FILE = Path(__file__).with_name("families.toml")


def human_rows(classes: Sequence[str], table: str, folder: Path) -> ClassTable:
    """Give the human rows of some classes: 0-100 as published, then unit length.

    Args:
        classes: canonical names.
        table: name of a layout that has such a table: aid, nwpu, ucm, whurs19.
        folder: that holds the tables, `$RSZSL_DATA/attributes`.

    Raises:
        TrainingError: where the table is not there, or lacks a class.
    """
    if table not in FILE_STEMS:
        raise TrainingError(f"no human class-attribute table of {table!r}; there are {', '.join(FILE_STEMS)}")
    values_file = folder / f"{FILE_STEMS[table]}_attributes.npy"
    names_file = folder / f"{FILE_STEMS[table]}_names.json"
    try:
        listed = json.loads(names_file.read_text(encoding="utf-8"))
        values = np.load(values_file)
    except (OSError, ValueError) as err:
        raise TrainingError(f"cannot read the human attribute table {values_file}: {err}") from err
    names, attributes = [canonical_name(n) for n in listed["classes_in_class_file_order"]], listed["attributes"]
    if values.shape != (len(names), len(attributes)):
        raise TrainingError(f"{values_file} is {values.shape}, {names_file} names {len(names)} x {len(attributes)}")
    check_known(classes, names, f"the human table of {table}")
    return build_table(
        classes,
        values[[names.index(name) for name in classes]],
        attributes,
        {
            "provider": "human",
            "table": table,
            "source_sha256": sha256_of(values_file),
            "images_per_class": 0,
            "unseen_images_used": False,
        },
        [families().get(attribute) for attribute in attributes],
    )


@cache
def families() -> dict[str, str]:
    """The family of each attribute of the published tables."""
    listed = tomllib.loads(FAMILIES_FILE.read_text(encoding="utf-8"))
    return {attribute: family for family, attributes in listed.items() for attribute in attributes}
