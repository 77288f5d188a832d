"""The class list as it is typed into a dialog, checked before anything runs."""

from __future__ import annotations

import re
from pathlib import Path

from rszsl_processing.core.errors import PluginError

RESERVED = "other"


def split_classes(text: str) -> list[str]:
    """Split at commas and line ends; a trailing line end is no empty name."""
    lines = [line.strip().rstrip(",") for line in text.strip().splitlines()]
    return [name.strip() for line in lines if line for name in line.split(",")]


def check_classes(names: list[str], source: str) -> None:
    """Refuse what `rszsl` would refuse, in words that fit a dialog.

    Raises:
        PluginError: on no name, an empty, a duplicate or the reserved one.
    """
    if not names:
        raise PluginError(f"{source} names no class; write some, for example: solar farm, quarry")
    seen = set()
    for name in names:
        key = " ".join(name.casefold().split())
        if not key:
            raise PluginError(f"{source} has an empty class name; remove the stray comma")
        if key == RESERVED:
            raise PluginError(
                f'{source} has the class "{RESERVED}", which rszsl keeps for tiles of no class; rename it'
            )
        if key in seen:
            raise PluginError(f'{source} has the class "{name}" twice; keep one')
        seen.add(key)


def names_in_file(path: str) -> list[str]:
    """Read the names of a class file: a class a line, `name` or `name: synonym, synonym`, `#` for comments.

    Raises:
        PluginError: where it cannot be read.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as err:
        raise PluginError(f"cannot read the class file {path}: {err}; give a UTF-8 text file") from err
    stripped = (line.partition("#")[0].strip() for line in lines)
    return [re.split(":", line, maxsplit=1)[0].strip() for line in stripped if line]


def chosen_classes(classes: str, classes_file: str, *, may_be_empty: bool = False) -> list[str]:
    """Take the names from the field or from the file, whichever is given.

    Raises:
        PluginError: where both are given, or neither (unless that may be, for examples), or the list is unusable.
    """
    if classes.strip() and classes_file:
        raise PluginError("Give either the classes or a class file, not both")
    if classes_file:
        names = names_in_file(classes_file)
        check_classes(names, f"the class file {classes_file}")
        return names
    names = split_classes(classes)
    if names or not may_be_empty:
        check_classes(names, "the list of classes")
    return names
