"""Runs a command for an algorithm: progress and messages to QGIS, an end within 3 s of a cancel."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Callable

from qgis.core import QgsProcessingFeedback

from rszsl_processing.bridge.settings import environment_for
from rszsl_processing.core.errors import Cancelled, PluginError
from rszsl_processing.core.events import Event, failure_message, parse_line
from rszsl_processing.core.process import Child

EXIT_OK, EXIT_TILES_FAILED = 0, 3
POLL_S = 0.1
LOG_EVERY_S = 5.0


class Runner:
    """Runs commands one after another, as parts of one progress bar."""

    def __init__(
        self, feedback: QgsProcessingFeedback, *, scenes: int = 1, staged: dict[Path, Path] | None = None
    ) -> None:
        """Make one.

        Args:
            feedback: of the algorithm.
            scenes: how many share the progress bar.
            staged: folders in which results are made, and those that messages should name instead.
        """
        self._feedback = feedback
        self._staged = staged or {}
        self._scenes = max(scenes, 1)
        self._scenes_done = 0
        self._error = ""
        self._logged_s = 0.0

    def run(
        self,
        command: Sequence[str],
        *,
        on_done: Callable[[Event], None] | None = None,
        may_fail_in_part: bool = False,
    ) -> None:
        """Run one command to its end.

        Args:
            command: executable and arguments.
            on_done: called with each event `done`.
            may_fail_in_part: exit code 3 means failed tiles, which is a warning.

        Raises:
            Cancelled: after everything was ended.
            PluginError: the one line that says why it failed; the rest stands in the log.
        """
        self._error = ""
        self._feedback.pushCommandInfo(shlex.join(command))
        try:
            child = Child(command, environment_for(command[0]))
        except OSError as err:
            raise PluginError(f"cannot run {command[0]}: {err.strerror or err}") from err
        try:
            self._follow(child, on_done)
        finally:
            if not child.ended:
                child.end()
        self._judge(child, may_fail_in_part)

    def _follow(self, child: Child, on_done: Callable[[Event], None] | None) -> None:
        while not child.ended:
            if self._feedback.isCanceled():
                child.end()
                raise Cancelled("cancelled; rszsl was ended and nothing unfinished was kept")
            line = child.next_line(POLL_S)
            if line is None:
                continue
            stream, text = line
            event = parse_line(text) if stream == "out" else Event("text", message=text)
            self._tell(event)
            if event.kind == "done":
                self._scenes_done += 1
                if on_done:
                    on_done(event)

    def _tell(self, event: Event) -> None:
        if event.kind == "start":
            self._logged_s = time.monotonic()
            about = f"{event.scene}: {event.total_tiles} tiles" if event.scene else event.message
            self._feedback.setProgressText(about)
        elif event.kind == "progress":
            self._progress(event)
        elif event.kind == "warning":
            self._feedback.pushWarning(self._shown(event.message))
        elif event.kind == "done":
            self._feedback.pushInfo(self._shown(event.message))
        elif event.kind == "error" and event.scenes_total:  # of one scene of a batch, which goes on
            self._feedback.pushWarning(self._shown(event.message))
        elif event.kind == "error":
            self._error = event.message
        elif event.message:
            self._feedback.pushConsoleInfo(event.message)

    def _progress(self, event: Event) -> None:
        finished = event.done_tiles >= event.total_tiles
        said = f"{event.done_tiles} of {event.total_tiles} tiles"
        if event.scenes_total:  # several scenes at once
            self._feedback.setProgress(100.0 * event.scenes_done / event.scenes_total)
            finished, said = False, f"{event.scenes_done} of {event.scenes_total} scenes"
        else:
            self._feedback.setProgress((100.0 * self._scenes_done + event.percent) / self._scenes)
        now_s = time.monotonic()
        if finished or now_s - self._logged_s >= LOG_EVERY_S:
            self._logged_s = now_s
            rate = "" if event.tiles_per_s is None else f", {event.tiles_per_s:g} tiles/s"
            self._feedback.pushInfo(said + rate)

    def _judge(self, child: Child, may_fail_in_part: bool) -> None:
        if may_fail_in_part and child.code == EXIT_TILES_FAILED:
            self._feedback.pushWarning("some tiles or scenes failed: see the messages above, and the column note")
        elif child.code != EXIT_OK:
            raise PluginError(self._shown(failure_message(child.code, self._error, child.stderr)))

    def _shown(self, message: str) -> str:
        for made_in, shown_in in self._staged.items():
            message = message.replace(str(made_in), str(shown_in))
        return message
