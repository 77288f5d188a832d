"""What was measured of the models of a recipe: figures for the card, a record, and a table."""

import json
import subprocess
from collections.abc import Mapping
from typing import Any

from rszsl.training.measure import Figures
from rszsl.training.recipe import Recipe
from rszsl.zsl.data.hashes import sha256_of
from rszsl.zsl.experiments.table import insert_table


def accuracy_entries(recipe: Recipe, figures: Mapping[str, Figures]) -> list[dict[str, Any]]:
    """Give the figures as a card lists them."""
    return [
        {
            "what": f"{fold}: {what}",
            "value": round(value, 5),
            "n": int(found["images"]),
            "classes": int(found["classes"]),
            "data": "+".join(recipe.sets),
        }
        for fold, found in figures.items()
        for what, value in found.items()
        if what not in ("classes", "images")
    ]


def write_report(recipe: Recipe, figures: Mapping[str, Figures]) -> None:
    """Write the record of all figures, and their table between the marks of the page that bear the record's name.

    Raises:
        TrainingError: where the page lacks the marks.
    """
    git = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    record = {
        "command": f"python -m rszsl.training {recipe.path.as_posix()}",
        "git_revision": git or None,
        "seed": recipe.seed,
        "recipe_sha256": sha256_of(recipe.path),
        "figures": {name: {what: round(value, 5) for what, value in found.items()} for name, found in figures.items()},
    }
    recipe.record.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    insert_table(recipe.page, recipe.record.stem, _table(figures))


def _table(figures: Mapping[str, Figures]) -> str:
    """One column a fold, one line a figure, in per cent."""
    lines = list(dict.fromkeys(what for found in figures.values() for what in found))
    head = f"| | {' | '.join(figures)} |\n| --- | {' | '.join('---:' for _ in figures)} |\n"
    return head + "".join(
        f"| {what} | {' | '.join(_cell(found, what) for found in figures.values())} |\n" for what in lines
    )


def _cell(found: Figures, what: str) -> str:
    if what not in found:
        return ""
    return str(int(found[what])) if what in ("classes", "images") else f"{100 * found[what]:.1f}"
