"""`python -m rszsl.training RECIPE.toml`: train a model; run it again to go on after an interruption."""

import sys
import time
from pathlib import Path

from rszsl.errors import RszslError
from rszsl.training.recipe import read_recipe
from rszsl.training.run import run


def main(arguments: list[str]) -> int:
    """Run one recipe; the exit code is 0, 1 for what the user can put right, 2 for wrong usage."""
    if len(arguments) != 1:
        print("usage: python -m rszsl.training RECIPE.toml", file=sys.stderr)
        return 2
    started = time.monotonic()
    try:
        folder = run(
            read_recipe(Path(arguments[0])),
            lambda line: print(f"{time.monotonic() - started:6.0f}s {line}", flush=True),
        )
    except RszslError as err:
        print(f"error: {err}", file=sys.stderr)
        return 1
    print(f"wrote {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
