"""Model cards, as the command prints them."""

from __future__ import annotations

from rszsl_processing.bridge.settings import environment_for
from rszsl_processing.core.card import card_number
from rszsl_processing.core.errors import PluginError
from rszsl_processing.core.events import failure_message
from rszsl_processing.core.process import run_briefly


def ask(command: list[str]) -> str:
    """What a command that answers at once says.

    Raises:
        PluginError: its one line, where it fails.
    """
    code, out, err = run_briefly(command, environment_for(command[0]), timeout_s=60)
    if code:
        raise PluginError(failure_message(code, "", err.splitlines()))
    return out


def read_card(executable: str, model: str) -> str:
    """The card of a model."""
    return ask([executable, "models", "show", "--", model])


def model_gsd_m(executable: str, model: str) -> float:
    """The pixel size that a model was trained for.

    Raises:
        PluginError: where its card names none.
    """
    gsd_m = card_number(read_card(executable, model), "input", "gsd_m")
    if not gsd_m:
        raise PluginError(f"the card of the model {model} names no pixel size; give GSD in metres")
    return gsd_m
