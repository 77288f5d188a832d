"""A child process in a group of its own, read line by line without blocking, and ended with all its children."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from typing import TextIO

POLITE_S = 1.2
"""Time that the command has to tidy up after an interrupt; everything must be gone 3 s after a cancel."""
KILL_S = 1.0


class Child:
    """A running command. Read it with `next_line` until that gives None and `ended` is true."""

    def __init__(self, command: Sequence[str], env: dict[str, str], cwd: str | None = None) -> None:
        group = {"creationflags": _windows_flags()} if os.name == "nt" else {"start_new_session": True}
        self.stderr: list[str] = []
        self._lines: queue.Queue[tuple[str, str]] = queue.Queue()
        self._process = subprocess.Popen(
            list(command), env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            encoding="utf-8", errors="replace", **group,
        )  # fmt: skip
        streams = (("out", self._process.stdout), ("err", self._process.stderr))
        self._readers = [threading.Thread(target=self._read, args=pair, daemon=True) for pair in streams]
        for reader in self._readers:
            reader.start()

    @property
    def pid(self) -> int:
        """Process id, which is also that of the group."""
        return self._process.pid

    @property
    def ended(self) -> bool:
        """Whether the command is over and all that it said was read."""
        if self._process.poll() is None:
            return False
        return not any(reader.is_alive() for reader in self._readers) and self._lines.empty()

    @property
    def code(self) -> int:
        """Exit status, once it has ended."""
        return self._process.wait()

    def next_line(self, timeout_s: float) -> tuple[str, str] | None:
        """The next line with its stream (`out` or `err`), or None where none came in time."""
        try:
            return self._lines.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def end(self) -> None:
        """End the whole group: first an interrupt, so that it can tidy up, then by force."""
        if os.name == "nt":
            _end_on_windows(self._process)
        else:
            _end_group(self._process)
        for reader in self._readers:
            reader.join(timeout=0.2)

    def _read(self, name: str, stream: TextIO) -> None:
        with stream:
            for line in stream:
                text = line.rstrip("\r\n")
                if name == "err":
                    self.stderr.append(text)
                self._lines.put((name, text))


def run_briefly(command: Sequence[str], env: dict[str, str], timeout_s: float = 30) -> tuple[int, str, str]:
    """Run a command that answers at once; gives exit status, stdout and stderr, and never raises.

    A command that is missing or too slow has the status 127 or 124.
    """
    try:
        child = Child(command, env)
    except OSError as err:
        return 127, "", str(err)
    said: dict[str, list[str]] = {"out": [], "err": []}
    deadline_s = time.monotonic() + timeout_s
    while not child.ended:
        if time.monotonic() > deadline_s:
            child.end()
            return 124, "\n".join(said["out"]), f"no answer within {timeout_s:g} s"
        line = child.next_line(0.05)
        if line:
            said[line[0]].append(line[1])
    return child.code, "\n".join(said["out"]), "\n".join(said["err"])


def _windows_flags() -> int:
    return getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0) | getattr(subprocess, "CREATE_NO_WINDOW", 0)


def _end_on_windows(process: subprocess.Popen[str]) -> None:
    subprocess.call(
        ["taskkill", "/F", "/T", "/PID", str(process.pid)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _wait(process, KILL_S)


def _end_group(process: subprocess.Popen[str]) -> None:
    # The group outlives its first process, so the signals go to the group until nothing of it is left.
    for number, patience_s in ((signal.SIGINT, POLITE_S), (signal.SIGKILL, KILL_S)):
        try:
            os.killpg(process.pid, number)
        except (ProcessLookupError, PermissionError):
            break
        _wait(process, patience_s)
    _wait(process, 0)


def _wait(process: subprocess.Popen[str], patience_s: float) -> None:
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=patience_s)
