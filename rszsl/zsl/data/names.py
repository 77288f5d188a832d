"""One name for one kind of place, however a data set spells it."""

import re
import tomllib
from collections.abc import Sequence
from difflib import get_close_matches
from functools import cache
from pathlib import Path

CLASSES_FILE = Path(__file__).with_name("classes.toml")


def canonical_name(spelling: str) -> str:
    """Give the one name of a class: `agricultural` -> "farmland", `denseresidential` -> "dense residential".

    A spelling that no known set uses is only turned into plain words.
    """
    return _spellings().get(_key(spelling), plain_name(spelling))


def plain_name(folder: str) -> str:
    """Turn a folder name into words: `DenseResidential` -> "dense residential".

    A folder that is not CamelCase is only lower-cased, with underscores as spaces.
    """
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", folder).replace("_", " ")
    return words.lower().strip()


def close_names(name: str, known: Sequence[str]) -> str:
    """Say which known names look like one, for an error: " (close: harbor, harbor bridge)", or nothing."""
    close = get_close_matches(name, known, n=3, cutoff=0.5)
    return f" (close: {', '.join(close)})" if close else ""


@cache
def _spellings() -> dict[str, str]:
    listed = tomllib.loads(CLASSES_FILE.read_text(encoding="utf-8"))
    every = {_key(name): name for entry in listed["layouts"].values() for name in entry["classes"]}
    for name, others in listed["spellings"].items():
        every |= {_key(other): name for other in (name, *others)}
    return every


def _key(spelling: str) -> str:
    return re.sub(r"[^a-z0-9]", "", spelling.lower())
