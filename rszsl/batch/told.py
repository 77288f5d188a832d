"""How a batch tells what it does: overall and scene by scene, on a terminal or as JSON lines; and its summary."""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TextIO

from rszsl.batch.schema import DONE, PARTIAL, SKIPPED
from rszsl.labels.collect import Counts

SAY_EVERY_S = 0.5
SCENE_BARS = 5
"""How many scenes have a bar of their own."""


@dataclass(slots=True)
class Tally:
    """What the whole batch has come to.

    Attributes:
        scenes: of this run.
        ended: done, partial, skipped or failed, earlier runs included.
        failed: scenes that failed.
        tiles: dealt with in this run.
        planned: tiles of the scenes opened in this run.
        opened: scenes taken up in this run.
        unopened: scenes that are still to be taken up.
        began_s: on the monotonic clock.
    """

    scenes: int
    ended: int = 0
    failed: int = 0
    tiles: int = 0
    planned: int = 0
    opened: int = 0
    unopened: int = 0
    began_s: float = 0.0

    @property
    def tiles_per_s(self) -> float:
        """Since the beginning of this run."""
        elapsed_s = time.monotonic() - self.began_s
        return self.tiles / elapsed_s if elapsed_s > 0 else 0.0

    @property
    def eta_s(self) -> float | None:
        """Seconds left, if the scenes that nobody has opened yet are as large as the others are on the average."""
        if not self.tiles or not self.opened:
            return None
        left = self.planned - self.tiles + self.unopened * self.planned / self.opened
        return left / self.tiles_per_s


class Screen(Protocol):
    """Shows what a `BatchProgress` has reckoned."""

    def say(self, event: str, scene: str | None, done: int, total: int, tally: dict[str, Any], **more: Any) -> None:
        """Show one event; `tally` is that of the whole batch."""
        ...


class BatchProgress:
    """Keeps count of scenes and tiles and passes events on; also a `Progress` for warnings."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._tally = Tally(0)
        self._scenes: dict[int, tuple[str, int, int]] = {}
        self._said_s = 0.0

    def open(self, scenes: int, ended: int, message: str) -> None:
        """Begin a batch of which an earlier run did `ended` scenes."""
        self._tally = Tally(scenes, ended, unopened=scenes - ended, began_s=time.monotonic())
        self._say("start", None, message=message)

    def start(self, scene: int, path: str, tiles: int) -> None:
        """A scene of `tiles` planned tiles is taken up."""
        self._open(scene, path, tiles)
        self._say("start", scene)

    def advance(self, scene: int, tiles: int) -> None:
        """Some tiles are dealt with, or (below 0) must be done again."""
        if scene not in self._scenes or not tiles:
            return
        path, done, total = self._scenes[scene]
        self._scenes[scene] = (path, done + tiles, total)
        self._tally.tiles += tiles
        now_s = time.monotonic()
        if now_s - self._said_s >= SAY_EVERY_S or done + tiles == total:
            self._said_s = now_s
            self._say("progress", scene)

    def warn(self, message: str) -> None:
        """Tell the user something that does not stop the run."""
        self._say("warning", None, message=message)

    def ended(
        self, scene: int, path: str, state: str, counts: Counts | None, output: str | None, error: str, seconds: float
    ) -> None:
        """A scene is done, partial, skipped or failed."""
        if scene not in self._scenes:
            self._open(scene, path, 0)
        self._tally.ended += 1
        self._tally.failed += state not in (DONE, SKIPPED, PARTIAL)
        if state in (DONE, PARTIAL) and counts is not None:
            note = f"; {error}" if error else ""
            self._say("done", scene, output=output, message=f"{path}: {adds_up(counts)} in {seconds:.1f} s{note}")
        else:
            self._say("warning" if state == SKIPPED else "error", scene, message=f"{path} {state}: {error}")
        del self._scenes[scene]

    def close(self, output: str, message: str) -> None:
        """The batch is over."""
        self._say("done", None, output=output, message=message)

    def _open(self, scene: int, path: str, tiles: int) -> None:
        self._scenes[scene] = (path, 0, tiles)
        self._tally.planned += tiles
        self._tally.opened += 1
        self._tally.unopened -= 1

    def _say(self, event: str, scene: int | None, **more: Any) -> None:
        tally, (path, done, total) = self._tally, self._scenes.get(scene or 0, (None, 0, 0))
        eta_s = tally.eta_s
        batch = {
            "scenes_done": tally.ended,
            "scenes_total": tally.scenes,
            "scenes_failed": tally.failed,
            "tiles_done": tally.tiles,
            "tiles_per_s": round(tally.tiles_per_s, 1),
            "eta_s": None if eta_s is None else round(eta_s),
        }
        if scene is None:
            done, total = tally.ended, tally.scenes
        self._screen.say(event, path, done, total, batch, **more)


class Quiet:
    """Shows nothing."""

    def say(self, event: str, scene: str | None, done: int, total: int, tally: dict[str, Any], **more: Any) -> None:
        """Ignore."""


class JsonScreen:
    """One JSON object a line; `done` and `total` are tiles of `scene`, or scenes where `scene` is null.

    The object `batch` tells of the whole: scenes done, total and failed, tiles done, tiles a second, seconds left.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream if stream is not None else sys.stdout

    def say(self, event: str, scene: str | None, done: int, total: int, tally: dict[str, Any], **more: Any) -> None:
        """Write a line."""
        line = {"event": event, "scene": scene, "done": done, "total": total, **more}
        line |= {"tiles_per_s": tally["tiles_per_s"], "batch": tally}
        print(json.dumps(line, ensure_ascii=False), file=self._stream, flush=True)


class BarScreen:
    """One bar for the batch and one for each of the scenes in hand (the first few), on stderr; messages above."""

    def __init__(self, bars: Any, console: Any) -> None:
        self._bars, self._console = bars, console
        self._whole: Any = None
        self._of: dict[str, Any] = {}

    def say(self, event: str, scene: str | None, done: int, total: int, tally: dict[str, Any], **more: Any) -> None:
        """Move bars, print messages."""
        if self._whole is None:
            self._whole = self._bars.add_task("batch", total=tally["scenes_total"], rate="")
        eta = "" if tally["eta_s"] is None else f", {tally['eta_s']} s left"
        failed = f", {tally['scenes_failed']} failed" if tally["scenes_failed"] else ""
        rate = f"scenes, {tally['tiles_per_s']:.0f} tiles/s{eta}{failed}"
        self._bars.update(self._whole, completed=tally["scenes_done"], total=tally["scenes_total"], rate=rate)
        if scene is not None:
            self._move(event, scene, done, total)
        if message := more.get("message"):
            self._print(event, str(message))

    def _move(self, event: str, scene: str, done: int, total: int) -> None:
        if event in ("done", "error", "warning"):
            if (bar := self._of.pop(scene, None)) is not None:
                self._bars.remove_task(bar)
        elif scene in self._of:
            self._bars.update(self._of[scene], completed=done)
        elif len(self._of) < SCENE_BARS:
            self._of[scene] = self._bars.add_task(scene.rpartition("/")[2], total=total, completed=done, rate="tiles")

    def _print(self, event: str, message: str) -> None:
        from rich.markup import escape

        colour = {"warning": "[yellow]warning:[/] ", "error": "[red]error:[/] "}.get(event, "")
        self._console.print(f"{colour}{escape(message)}", soft_wrap=True)


def adds_up(counts: Counts) -> str:
    """`120 tiles = 100 labelled + 15 other + 5 nodata + 0 failed`."""
    parts = f"{counts.labelled} labelled + {counts.other} other + {counts.nodata} nodata + {counts.failed} failed"
    return f"{counts.planned} tiles = {parts}"


@contextmanager
def batch_progress_for(kind: str, *, quiet: bool = False) -> Iterator[BatchProgress]:
    """Choose by `--progress`, as `rszsl.progress.progress_for` does for one scene."""
    if kind == "json":
        yield BatchProgress(JsonScreen())
    elif kind == "none":
        yield BatchProgress(Quiet())
    else:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        console = Console(stderr=True, quiet=quiet, highlight=False, force_terminal=True if kind == "bar" else None)
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
        )
        with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
            yield BatchProgress(BarScreen(bars, console))
