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
    """What a map can be told, as the options of `rszsl map`; None and "" leave an option out, True is a flag."""

    classes: Sequence[str] = ()
    classes_file: str = ""
    options: dict[str, str | bool | None] = field(default_factory=dict)

    def arguments(self) -> list[str]:
        """As `--name=value`, so that no value is taken for an option."""
        named = {"classes": ",".join(self.classes), "classes-file": self.classes_file}
        return option_arguments({**named, **self.options})


def option_arguments(options: dict[str, str | bool | None]) -> list[str]:
    """Spell options as `--name=value`, and those that are True as `--name`."""
    set_ones = {name: value for name, value in options.items() if value not in (None, "", False)}
    return [f"--{name}" if value is True else f"--{name}={value}" for name, value in set_ones.items()]


def map_command(executable: str, scene: str, output: str, settings: MapSettings) -> list[str]:
    """Map one scene to one file."""
    return [executable, "map", "--progress=json", *settings.arguments(), f"--output={output}", "--", scene]


def relabel_command(executable: str, cache: str, output: str, settings: MapSettings) -> list[str]:
    """Label a cache again."""
    return [executable, "relabel", "--progress=json", *settings.arguments(), f"--output={output}", "--", cache]


def search_command(
    executable: str, cache: str, output: str, *, text: str = "", like: Sequence[str] = (), **options: str | None
) -> list[str]:
    """Search a cache for a text, or for what is like the tiles at the points `like` (`X,Y`).

    Raises:
        PluginError: where the points do not fit on a command line.
    """
    points = [f"--like={point}" for point in like]
    if sum(len(part) + 3 for part in points) > MAX_ARGUMENTS_CHARS:
        raise PluginError(f"{len(points)} points are too many for one search; select some of them")
    named = option_arguments({name.replace("_", "-"): value for name, value in options.items()})
    return [executable, "search", *points, *named, f"--output={output}", "--", cache, *([text] if text else [])]


def map_commands(executable: str, scenes: Sequence[str], out: str, settings: MapSettings) -> list[list[str]]:
    """Map many scenes into a folder, in as few commands as their length allows."""
    start = [executable, "map", "--progress=json", *settings.arguments(), f"--out={out}", "--"]
    room_chars = max(1_000, MAX_ARGUMENTS_CHARS - sum(len(part) + 3 for part in start))
    return [start + group for group in grouped(scenes, room_chars)]


def batch_command(executable: str, listed: str, out: str, settings: MapSettings, scheduler: str) -> list[str]:
    """Map the scenes that stand in the CSV file `listed` over Dask."""
    over = ["--progress=json", *settings.arguments(), f"--scheduler={scheduler}", f"--out={out}"]
    return [executable, "batch", *over, "--", listed]


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


def check_scheduler(text: str) -> None:
    """Accept `local`, `none` or the address of a scheduler, as in `tcp://10.0.0.5:8786`.

    Raises:
        PluginError: for anything else.
    """
    if text and not re.fullmatch(r"local|none|[a-z]+://\S+", text):
        raise PluginError(f'the Dask scheduler "{text}" is no address; write it like tcp://10.0.0.5:8786, or local')


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
