"""Where units run: in this process, or on the workers of a Dask cluster. What happens is told to one listener."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Protocol

from rszsl.batch.work import Brief, Outcome, UnfitWorkerError, Unit
from rszsl.errors import RszslError


class Trouble(Enum):
    """Why a unit came to nothing."""

    INPUT = auto()
    """The scene, not the worker: an `RszslError`."""
    ERROR = auto()
    """Anything else that was raised."""
    DIED = auto()
    """Workers died, with this unit in their hands or at hand."""
    UNFIT = auto()
    """The worker was refused; the unit never began."""


@dataclass(frozen=True, slots=True)
class Started:
    """A worker has begun a unit; again, where the worker before it died."""

    ticket: str
    worker: str


@dataclass(frozen=True, slots=True)
class Advanced:
    """Some tiles of a unit are dealt with."""

    ticket: str
    tiles: int


@dataclass(frozen=True, slots=True)
class Finished:
    """A unit is dealt with."""

    ticket: str
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Failed:
    """A unit came to nothing."""

    ticket: str
    trouble: Trouble
    error: BaseException


@dataclass(frozen=True, slots=True)
class Mishap:
    """What a worker answers where it has no outcome; an exception's causes and frames may not survive pickling."""

    trouble: Trouble
    error: Exception


def attempt(run: Callable[[], Outcome]) -> Outcome | Mishap:
    """Run a unit; put what it raised into a few words."""
    try:
        return run()
    except RszslError as err:
        trouble = Trouble.UNFIT if isinstance(err, UnfitWorkerError) else Trouble.INPUT
        return Mishap(trouble, type(err)(str(err)))
    except Exception as err:  # whatever a driver or a model raises must end in the manifest, not the batch
        return Mishap(Trouble.ERROR, RuntimeError(f"{type(err).__name__}: {err}"))


Message = Started | Advanced | Finished | Failed
Hear = Callable[[Message], None]


class Pool(Protocol):
    """Runs units. A ticket names one submission of a unit."""

    def slots(self) -> int:
        """How many units may be submitted and not yet dealt with; the back-pressure."""
        ...

    def submit(self, ticket: str, unit: Unit) -> None:
        """Take a unit."""
        ...

    def wait(self, hear: Hear, timeout_s: float) -> bool:
        """Tell `hear` what happened; wait for something to happen, but not longer than that.

        Returns:
            Whether all that happened has been told: only then does silence mean that a worker hangs.
        """
        ...

    def drop(self, ticket: str, *, hung_on: str | None = None) -> None:
        """Forget a submission; nothing more is heard of it. `hung_on` is a worker to be restarted."""
        ...


class InProcess:
    """Runs one unit after another, here."""

    def __init__(self, brief: Brief) -> None:
        self._brief = brief
        self._waiting: deque[tuple[str, Unit]] = deque()

    def slots(self) -> int:
        """One."""
        return 1

    def submit(self, ticket: str, unit: Unit) -> None:
        """Keep it for `wait`."""
        self._waiting.append((ticket, unit))

    def wait(self, hear: Hear, timeout_s: float) -> bool:
        """Run what was submitted; a unit cannot be stopped here, so `timeout_s` is not kept."""
        from rszsl.batch.worker import run_unit

        while self._waiting:
            ticket, unit = self._waiting.popleft()
            hear(Started(ticket, "here"))
            answer = attempt(lambda: run_unit(self._brief, unit, _advance(ticket, hear), "here"))  # noqa: B023
            if isinstance(answer, Mishap):
                hear(Failed(ticket, answer.trouble, answer.error))
            else:
                hear(Finished(ticket, answer))
        return False

    def drop(self, ticket: str, *, hung_on: str | None = None) -> None:
        """Forget it, where it has not begun."""
        self._waiting = deque(item for item in self._waiting if item[0] != ticket)


def _advance(ticket: str, hear: Hear) -> Callable[[int], None]:
    return lambda tiles: hear(Advanced(ticket, tiles))
