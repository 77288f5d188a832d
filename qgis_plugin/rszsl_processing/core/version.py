"""Which `rszsl` the plugin can drive."""

from __future__ import annotations

import re

from rszsl_processing.core.errors import PluginError
from rszsl_processing.core.events import failure_message
from rszsl_processing.core.process import run_briefly

NEEDED = (0, 1, 0)


def parse_version(text: str) -> tuple[int, ...] | None:
    """Find `0.1.0` in `rszsl, version 0.1.0`."""
    found = re.search(r"rszsl\D*(\d+(?:\.\d+)+)", text)
    return tuple(int(part) for part in found.group(1).split(".")) if found else None


def checked_version(executable: str, env: dict[str, str]) -> str:
    """Ask the executable for its version.

    Raises:
        PluginError: where it does not run, is not rszsl, or is too old.
    """
    code, out, err = run_briefly([executable, "--version"], env)
    version = parse_version(out)
    if code:
        raise PluginError(f"{executable} does not run: {failure_message(code, '', err.splitlines())}")
    if version is None:
        raise PluginError(f"{executable} is not rszsl (its --version says {out.strip()[:80]!r})")
    if version < NEEDED:
        raise PluginError(
            f"{executable} is rszsl {dotted(version)}; the plugin needs {dotted(NEEDED)} or newer: "
            "run Install or update rszsl"
        )
    return dotted(version)


def dotted(version: tuple[int, ...]) -> str:
    """Spell a version."""
    return ".".join(str(part) for part in version)
