"""Units on the workers of a Dask cluster, by a user's Client."""

import threading
import time
from concurrent.futures import CancelledError
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any

from distributed import Client, Future, KilledWorker, get_worker

from rszsl.batch.pool import Advanced, Failed, Finished, Hear, Mishap, Started, Trouble, attempt
from rszsl.batch.roster import Roster
from rszsl.batch.work import Brief, Outcome, Unit
from rszsl.batch.worker import run_unit
from rszsl.errors import ClusterError
from rszsl.model.memory import keep_freed_memory

DEPTH = 2
"""Units in flight for each thread of the workers: one that runs and one at hand."""
FETCH_S, RESTART_S = 120, 60
TELL_EVERY_S = 1.0
GPU = "GPU"


def run_on_worker(brief: Brief, unit: Unit, ticket: str, topic: str) -> Outcome | Mishap:
    """Run a unit in a worker's thread, and say when it begins and how it goes on: scheduler events, of 200 bytes."""
    keep_freed_memory()
    worker = get_worker()
    worker.log_event(topic, {"ticket": ticket, "worker": worker.address})
    told_s, untold = time.monotonic(), 0

    def tell(tiles: int) -> None:
        nonlocal told_s, untold
        untold += tiles
        if time.monotonic() - told_s > TELL_EVERY_S:
            worker.log_event(topic, {"ticket": ticket, "tiles": untold})
            told_s, untold = time.monotonic(), 0

    return attempt(lambda: run_unit(brief, unit, tell, worker.address))


class DaskPool:
    """Submits units as Dask tasks; the scheduler retries what its dead workers held, everything else is ours."""

    def __init__(self, client: Client, brief: Brief, roster: Roster) -> None:
        self._client, self._brief, self._roster = client, brief, roster
        self._topic = f"rszsl-{brief.batch}"
        self._news: SimpleQueue[dict[str, Any]] = SimpleQueue()
        self._futures: dict[str, Future[Any]] = {}
        self._limits: dict[str, frozenset[str]] = {}
        client.subscribe_topic(self._topic, lambda event: self._news.put(event[1]))

    def slots(self) -> int:
        """`DEPTH` for each thread (or GPU) of the workers that fit; one where none is there yet."""
        return max(1, DEPTH * self._roster.threads)

    def submit(self, ticket: str, unit: Unit) -> None:
        """Hand a unit to the scheduler; where workers are refused, limited to those that fit now."""
        only = self._roster.only()
        if only is not None:
            self._limits[ticket] = frozenset(only)
        future = self._client.submit(
            run_on_worker, self._brief, unit, ticket, self._topic,
            key=f"rszsl-unit-{ticket}", pure=False, workers=only,
            resources={GPU: 1} if self._roster.gpu else None,
        )  # fmt: skip
        self._futures[ticket] = future
        future.add_done_callback(lambda _, t=ticket: self._news.put({"ticket": t, "over": True}))

    def wait(self, hear: Hear, timeout_s: float) -> bool:
        """See `Pool`; returns after each result, so that its worker gets the next unit before others are written.

        Raises:
            ClusterError: where the scheduler or all workers are gone.
        """
        with suppress(Empty):
            while self._pass_on(self._news.get(timeout=timeout_s), hear):
                timeout_s = 0.0
        if self._client.status != "running":
            raise self._lost()
        self._roster.check_alive()
        self._release_stranded(hear)
        return self._news.empty()

    def drop(self, ticket: str, *, hung_on: str | None = None) -> None:
        """See `Pool`; a hung worker is restarted by its nanny, or refused where it has none."""
        future = self._futures.pop(ticket, None)
        self._limits.pop(ticket, None)
        if future is not None:
            future.release()
        if hung_on is not None:
            threading.Thread(target=self._restart, args=(hung_on,), daemon=True).start()

    def close(self) -> None:
        """Take back what is still with the scheduler."""
        for ticket in list(self._futures):
            self.drop(ticket)
        with suppress(ValueError, OSError):
            self._client.unsubscribe_topic(self._topic)

    def _pass_on(self, news: dict[str, Any], hear: Hear) -> bool:
        """Tell of one thing; tell the caller whether it was but an event, no result."""
        ticket = news["ticket"]
        if ticket not in self._futures:
            return True
        if "over" in news:
            message = self._result(ticket)
            self.drop(ticket)
            hear(message)
            return False
        hear(Advanced(ticket, news["tiles"]) if "tiles" in news else Started(ticket, news["worker"]))
        return True

    def _release_stranded(self, hear: Hear) -> None:
        """Take back units all of whose workers are gone: a restarted worker has another address."""
        here = self._roster.fit
        for ticket in [t for t, limit in self._limits.items() if limit.isdisjoint(here)]:
            self.drop(ticket)
            hear(Failed(ticket, Trouble.DIED, ClusterError("the workers that it was limited to are gone")))

    def _result(self, ticket: str) -> Finished | Failed:
        try:
            answer = self._futures[ticket].result(timeout=FETCH_S)
        except CancelledError as err:
            raise self._lost() from err
        except KilledWorker as err:
            return Failed(ticket, Trouble.DIED, err)
        except Exception as err:  # not ours: a worker without the package, a result that its worker took to the grave
            unfit = isinstance(err, ImportError) and self._newly_refused()
            return Failed(ticket, Trouble.UNFIT if unfit else Trouble.ERROR, err)
        if isinstance(answer, Mishap):
            if answer.trouble is Trouble.UNFIT:
                self._newly_refused()
            return Failed(ticket, answer.trouble, answer.error)
        return Finished(ticket, answer)

    def _newly_refused(self) -> bool:
        before = len(self._roster.refused)
        self._roster.look()
        return len(self._roster.refused) > before

    def _restart(self, worker: str) -> None:
        try:
            self._client.restart_workers([worker], timeout=RESTART_S)
        except Exception as err:  # no nanny, gone already, timed out: it gets no more work, whatever it was
            self._roster.refuse(worker, f"it hung and could not be restarted: {err}")

    def _lost(self) -> ClusterError:
        address = getattr(self._client.scheduler, "address", "the scheduler")
        return ClusterError(f"lost the scheduler {address}; start it again and run the same command to go on")
