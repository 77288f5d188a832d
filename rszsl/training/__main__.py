"""`python -m rszsl.training RECIPE.toml [FOLD]`: train models; run it again to go on after an interruption."""

import sys
import time
from pathlib import Path

from rszsl.errors import RszslError
from rszsl.training.recipe import read_recipe
from rszsl.training.run import run, train_only


def main(arguments: list[str]) -> int:
    """Run one recipe, or one fold of it; the exit code is 0, 1 for what the user can put right, 2 for wrong usage."""
    if len(arguments) not in (1, 2):
        print("usage: python -m rszsl.training RECIPE.toml [FOLD]", file=sys.stderr)
        return 2
    started = time.monotonic()

    def log(line: str) -> None:
        print(f"{time.monotonic() - started:6.0f}s {line}", flush=True)

    try:
        recipe = read_recipe(Path(arguments[0]))
        folder = train_only(recipe, arguments[1], log) if len(arguments) == 2 else run(recipe, log)
    except RszslError as err:
        print(f"error: {err}", file=sys.stderr)
        return 1
    print(f"wrote {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
