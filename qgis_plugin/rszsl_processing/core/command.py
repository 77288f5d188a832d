"""The command lines of `rszsl`, built as lists: no shell ever reads them."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from rszsl_processing.core.errors import PluginError

MAX_ARGUMENTS_CHARS = 20_000
"""Windows ends a command line at 32 767 characters."""


@dataclass(frozen=True)
class MapSettings:
    """What a map can be told, as the options of `rszsl map`; None and "" leave an option out."""

    classes: Sequence[str] = ()
    classes_file: str = ""
    options: dict[str, str | None] = field(default_factory=dict)

    def arguments(self) -> list[str]:
        """As `--name=value`, so that no value is taken for an option."""
        named = (
            [f"--classes-file={self.classes_file}"] if self.classes_file else [f"--classes={','.join(self.classes)}"]
        )
        return named + [f"--{name}={value}" for name, value in self.options.items() if value not in (None, "")]


def map_command(executable: str, scene: str, output: str, settings: MapSettings) -> list[str]:
    """Map one scene to one file."""
    return [executable, "map", "--progress=json", *settings.arguments(), f"--output={output}", "--", scene]


def batch_commands(executable: str, scenes: Sequence[str], out: str, settings: MapSettings) -> list[list[str]]:
    """Map many scenes into a folder, in as few commands as their length allows."""
    start = [executable, "map", "--progress=json", *settings.arguments(), f"--out={out}", "--"]
    room_chars = max(1_000, MAX_ARGUMENTS_CHARS - sum(len(part) + 3 for part in start))
    return [start + group for group in grouped(scenes, room_chars)]


def grouped(scenes: Sequence[str], room_chars: int) -> list[list[str]]:
    """Cut a list into runs whose characters stay below `room_chars`; a longer single item stands alone."""
    groups: list[list[str]] = []
    used_chars = 0
    for scene in scenes:
        length_chars = len(scene) + 3  # two quotes and a space
        if not groups or used_chars + length_chars > room_chars:
            groups.append([])
            used_chars = 0
        groups[-1].append(scene)
        used_chars += length_chars
    return groups


def check_bands(text: str) -> None:
    """Accept one band or three, from 1, as in `3,2,1`.

    Raises:
        PluginError: for anything else.
    """
    if text.strip() and not re.fullmatch(r"\s*[1-9]\d*\s*(,\s*[1-9]\d*\s*,\s*[1-9]\d*\s*)?", text):
        raise PluginError(f'the bands "{text}" are not one band or three, from 1; write them like 3,2,1')


def check_range(text: str) -> None:
    """Accept `LO,HI` or one such pair for each band, as in `0,3000` or `0,3000;0,2500;0,2000`.

    Raises:
        PluginError: for anything else.
    """
    if not text.strip():
        return
    for pair in text.split(";"):
        try:
            low, high = (float(value) for value in pair.split(","))
        except ValueError:
            raise PluginError(f'the range "{text}" is not LO,HI or LO,HI;LO,HI;LO,HI') from None
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise PluginError(f'the range "{pair.strip()}" must rise from low to high')
