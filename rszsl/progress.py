"""How a long run tells what it does: a bar on a terminal, JSON lines for programs, or nothing."""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Protocol, Self, TextIO


class Progress(Protocol):
    """Hears of one scene after another."""

    def start(self, scene: str, total: int) -> None:
        """Begin a scene of `total` planned tiles."""
        ...

    def advance(self, tiles: int) -> None:
        """Finish some tiles."""
        ...

    def warn(self, message: str) -> None:
        """Tell the user something that does not stop the run."""
        ...

    def done(self, output: str, message: str) -> None:
        """End the scene; its result stands at `output`."""
        ...


class Silent:
    """Says nothing; the default of the Python API."""

    def start(self, scene: str, total: int) -> None:
        """Ignore."""

    def advance(self, tiles: int) -> None:
        """Ignore."""

    def warn(self, message: str) -> None:
        """Ignore."""

    def done(self, output: str, message: str) -> None:
        """Ignore."""


class JsonLines:
    """One JSON object a line, for the QGIS plugin and other programs.

    Keys: `event` (`start`, `progress`, `warning`, `done`, `error`), `scene`, `done`, `total`, `tiles_per_s`,
    `message`, `output`.
    """

    def __init__(self, stream: TextIO | None = None, *, every_s: float = 0.2) -> None:
        self._stream = stream if stream is not None else sys.stdout
        self._every_s = every_s
        self._scene: str | None = None
        self._total = self._done = 0
        self._started_s = self._said_s = 0.0

    def start(self, scene: str, total: int) -> None:
        """Write the event `start`."""
        self._scene, self._total, self._done = scene, total, 0
        self._started_s = self._said_s = time.monotonic()
        self._write("start")

    def advance(self, tiles: int) -> None:
        """Write the event `progress`, at most every `every_s` seconds and at the end."""
        self._done += tiles
        now_s = time.monotonic()
        if now_s - self._said_s >= self._every_s or self._done == self._total:
            self._said_s = now_s
            elapsed_s = now_s - self._started_s
            self._write("progress", tiles_per_s=round(self._done / elapsed_s, 1) if elapsed_s else None)

    def warn(self, message: str) -> None:
        """Write the event `warning`."""
        self._write("warning", message=message)

    def done(self, output: str, message: str) -> None:
        """Write the event `done`."""
        self._write("done", output=output, message=message)

    def error(self, message: str) -> None:
        """Write the event `error`."""
        self._write("error", message=message)

    def _write(self, event: str, **more: Any) -> None:
        line = {"event": event, "scene": self._scene, "done": self._done, "total": self._total, **more}
        print(json.dumps(line, ensure_ascii=False), file=self._stream, flush=True)


class Bar:
    """A rich progress bar with tiles a second and the time left, on stderr.

    Args:
        quiet: print nothing at all.
        always: draw the bar even where stderr is no terminal; else only messages are printed there.
    """

    def __init__(self, *, quiet: bool = False, always: bool = False) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        self._console = Console(stderr=True, quiet=quiet, highlight=False, force_terminal=True if always else None)
        self._bars = RichProgress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(), console=self._console, transient=True, disable=not self._console.is_terminal,
        )  # fmt: skip
        self._task: Any = None
        self._started_s = 0.0

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, err: BaseException | None, tb: TracebackType | None) -> None:
        self._bars.stop()

    def start(self, scene: str, total: int) -> None:
        """Show a new bar."""
        self._started_s = time.monotonic()
        self._task = self._bars.add_task(scene, total=total, rate="")

    def advance(self, tiles: int) -> None:
        """Move the bar."""
        self._bars.advance(self._task, tiles)
        finished = self._bars.tasks[-1].completed
        elapsed_s = max(time.monotonic() - self._started_s, 1e-9)
        self._bars.update(self._task, rate=f"{finished / elapsed_s:.0f} tiles/s")

    def warn(self, message: str) -> None:
        """Print above the bar."""
        self._console.print(f"[yellow]warning:[/] {_plain(message)}", soft_wrap=True)

    def done(self, output: str, message: str) -> None:
        """Print above the bar and take it away."""
        if self._task is not None:
            self._bars.remove_task(self._task)
        self._console.print(f"{_plain(message)}", soft_wrap=True)


@contextmanager
def progress_for(kind: str, *, quiet: bool = False) -> Iterator[Progress]:
    """Choose by `--progress`: `bar`, `json`, `none`, or `auto` (a bar on a terminal, else only messages)."""
    if kind == "json":
        yield JsonLines()
    elif kind == "none":
        yield Silent()
    else:
        with Bar(quiet=quiet, always=kind == "bar") as bar:
            yield bar


def _plain(message: str) -> str:
    """Keep square brackets in a message from being read as markup."""
    from rich.markup import escape

    return escape(message)
