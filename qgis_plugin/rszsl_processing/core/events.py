"""What `rszsl --progress json` says, line by line, and what a failure comes down to."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

SIGKILL = 9


@dataclass(frozen=True)
class Event:
    """One line of progress; `kind` is start, progress, warning, done, error, or text for any other line."""

    kind: str
    scene: str = ""
    done_tiles: int = 0
    total_tiles: int = 0
    tiles_per_s: float | None = None
    message: str = ""
    output: str = ""
    scenes_done: int = 0
    scenes_total: int = 0
    """Of the whole batch; 0 where there is none."""

    @property
    def percent(self) -> float:
        """How much of the scene is done; nothing planned is nothing done."""
        return 100.0 * self.done_tiles / self.total_tiles if self.total_tiles else 0.0


def parse_line(line: str) -> Event:
    """Read one line; what is no event (a library that prints) becomes text for the log."""
    try:
        said = json.loads(line)
    except ValueError:
        return Event("text", message=line.strip())
    if not isinstance(said, dict) or "event" not in said:
        return Event("text", message=line.strip())
    rate = said.get("tiles_per_s")
    batch = said.get("batch") if isinstance(said.get("batch"), dict) else {}
    return Event(
        kind=str(said["event"]),
        scene=str(said.get("scene") or ""),
        done_tiles=_whole(said.get("done")),
        total_tiles=_whole(said.get("total")),
        tiles_per_s=float(rate) if isinstance(rate, (int, float)) else None,
        message=str(said.get("message") or ""),
        output=str(said.get("output") or ""),
        scenes_done=_whole(batch.get("scenes_done")),
        scenes_total=_whole(batch.get("scenes_total")),
    )


def _whole(value: object) -> int:
    return int(value) if isinstance(value, (int, float)) else 0


def failure_message(code: int, error_event: str, stderr: Sequence[str]) -> str:
    """The one line that a user should read: the command's own, or the best that can be said.

    Args:
        code: exit status; negative for a signal.
        error_event: message of the event `error`, or "".
        stderr: what the command wrote there.
    """
    if error_event:
        return error_event
    lines = [line.strip() for line in stderr if line.strip()]
    named = [m.group(1) for m in (re.match(r"error:\s*(.+)", line, re.IGNORECASE) for line in lines) if m]
    if named and "No such option" in named[-1]:
        return (
            f"this rszsl does not know what the plugin asks for ({named[-1]}); update it with Install or update rszsl"
        )
    if named:
        return named[-1]
    if code in (-SIGKILL, 128 + SIGKILL):
        return "rszsl was killed, probably for want of memory; try a smaller batch size or area"
    if code < 0:
        return f"rszsl was ended by signal {-code}"
    return lines[-1] if lines else f"rszsl ended with exit code {code} and said nothing"
