"""What names look like, in other words: a table of phrases that is read beside the names."""

import tomllib
from pathlib import Path

from rszsl.errors import ModelError
from rszsl.model.text import words_of


def read_prompts(path: Path) -> dict[str, tuple[str, ...]]:
    """Read `name = ["phrase", ...]` by the name in lower case, as words.

    Raises:
        ModelError: where it is no such table.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as err:
        raise ModelError(f"cannot read the prompts {path}: {err}; fetch the model again") from err
    for name, phrases in table.items():
        if not isinstance(phrases, list) or not all(isinstance(p, str) and words_of(p) for p in phrases):
            raise ModelError(f'{path}: the phrases of "{name}" are no list of texts; fetch the model again')
    return {" ".join(words_of(name)): tuple(phrases) for name, phrases in table.items()}
