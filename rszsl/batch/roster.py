"""Which workers of a cluster fit: same rszsl, same model, a GPU where one is asked for. The others are named."""

import pickle
import threading
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from distributed import Client

from rszsl.batch.told import BatchProgress
from rszsl.batch.work import Brief
from rszsl.errors import ClusterError

REFRESH_S = 3.0
PROBE_S = 120
WORKERS_S = 300
"""How long a cluster may be without workers: a queue of SLURM, a pod that starts."""


class Roster:
    """The workers of a cluster, checked when they are first seen.

    Attributes:
        refused: why, by address.
        threads: units that the fitting workers can run at once.
        gpu: whether units ask for the resource `GPU`.
    """

    def __init__(self, client: Client, brief: Brief, progress: BatchProgress, *, wait_s: float = WORKERS_S) -> None:
        self._client, self._brief, self._progress, self._wait_s = client, brief, progress, wait_s
        self._fit: dict[str, dict[str, Any]] = {}
        self.refused: dict[str, str] = {}
        self.threads = 0
        self.gpu = False
        self._seen_s = time.monotonic()
        self._guard = threading.Lock()
        self._over = threading.Event()

    def open(self) -> None:
        """Wait for a worker, check all, and decide whether units run on GPUs; go on looking for new ones.

        Raises:
            ClusterError: where none comes, none fits, or GPUs are asked for and no worker has one.
        """
        if not self._client.nthreads():
            self._await_worker()
        silent = self.look()
        if not self._fit:
            dumb = [f"{address} (no answer within {PROBE_S} s)" for address in silent]
            raise ClusterError(f"no worker fits: {_list(self.refused, dumb)}; install the same rszsl and model there")
        self.gpu = self._wants_gpu()
        self._count(self._client.nthreads())
        threading.Thread(target=self._watch, name="rszsl-roster", daemon=True).start()

    def close(self) -> None:
        """Look no more."""
        self._over.set()

    def look(self) -> list[str]:
        """Check the workers that are new; give those that did not answer, which are asked again the next time."""
        with self._guard:
            present = self._client.nthreads()
            fresh = [a for a in present if a not in self._fit and a not in self.refused]
            answers = self._probe(fresh) if fresh else {}
            for address, found in answers.items():
                if why := self._unfit(found):
                    self._refuse(address, why)
                else:
                    self._fit[address] = found
            self._fit = {a: found for a, found in self._fit.items() if a in present}
            self._count(present)
            return [a for a in fresh if a not in answers]

    def refuse(self, address: str, why: str) -> None:
        """Give a worker no more work."""
        with self._guard:
            self._fit.pop(address, None)
            self._refuse(address, why)

    @property
    def fit(self) -> frozenset[str]:
        """Addresses of the workers that fit."""
        return frozenset(self._fit)

    def only(self) -> list[str] | None:
        """Addresses that units are limited to; None where every worker fits."""
        return list(self._fit) if self.refused else None

    def check_alive(self) -> None:
        """Say when the last worker is long gone.

        Raises:
            ClusterError: after `wait_s` without one.
        """
        if self.threads:
            self._seen_s = time.monotonic()
        elif time.monotonic() - self._seen_s > self._wait_s:
            raise ClusterError(f"no fitting worker for {self._wait_s:.0f} s; start some and run the same command again")

    def _await_worker(self) -> None:
        """Ask for a trifle, which makes an adaptive cluster start a worker."""
        self._progress.warn(f"waiting up to {self._wait_s:.0f} s for a worker")
        trifle = self._client.submit(str, pure=False)
        try:
            self._client.wait_for_workers(1, timeout=self._wait_s)
        except TimeoutError as err:
            raise ClusterError(
                f"no worker came within {self._wait_s:.0f} s; start some with: dask worker ADDRESS"
            ) from err
        finally:
            trifle.release()

    def _watch(self) -> None:
        while not self._over.wait(REFRESH_S):
            with suppress(OSError, RuntimeError, TimeoutError):  # the scheduler is gone: the pool says so
                self.look()

    def _probe(self, addresses: list[str]) -> dict[str, dict[str, Any]]:
        """Ask workers what they have, with a function that needs nothing of rszsl there."""
        what = pickle.dumps(self._brief.source)
        answers: dict[str, Any] = {}

        def ask() -> None:
            with suppress(OSError, RuntimeError):  # a worker that went away meanwhile
                answers.update(self._client.run(_probe_by_value(), what, workers=addresses, on_error="return"))

        asking = threading.Thread(target=ask, daemon=True)
        asking.start()
        asking.join(PROBE_S)
        known = dict(answers)
        return {a: v if isinstance(v, dict) else {"error": str(v)} for a, v in known.items() if not _gone(v)}

    def _unfit(self, found: dict[str, Any]) -> str | None:
        if "error" in found:
            return str(found["error"])
        if found["version"] != self._brief.version:
            return f"it has rszsl {found['version']}, this is {self._brief.version}"
        if found["digest"] != self._brief.source.digest:
            return f"its model is another one ({str(found['digest'])[:12]}…, here {self._brief.source.digest[:12]}…)"
        return None

    def _refuse(self, address: str, why: str) -> None:
        self.refused[address] = why
        self._progress.warn(f"worker {address} is refused: {why}")

    def _wants_gpu(self) -> bool:
        device = self._brief.options.device
        have = any(found["gpus"] for found in self._fit.values())
        if device.startswith("cuda") and not have:
            raise ClusterError(
                f'--device {device} asks for GPUs, and no worker has one; start workers with --resources "GPU=1", '
                "or give --device cpu"
            )
        return have and device != "cpu"

    def _count(self, nthreads: dict[str, int]) -> None:
        able = [(int(found["gpus"]), nthreads.get(a, 0)) for a, found in self._fit.items()]
        self.threads = sum(min(gpus, n) if self.gpu else n for gpus, n in able)


def _probe_by_value() -> Callable[..., Coroutine[Any, Any, dict[str, Any]]]:
    """Make a function that travels as code, since a local one cannot be imported: a worker may lack rszsl."""

    async def probe(what: bytes, dask_worker: Any = None) -> dict[str, Any]:
        import asyncio

        def look() -> dict[str, Any]:
            import importlib.metadata
            import pickle

            try:
                import rszsl  # noqa: F401

                return {"version": importlib.metadata.version("rszsl"), "digest": pickle.loads(what).found()}
            except Exception as err:
                return {"error": f"{type(err).__name__}: {err}"}

        found = await asyncio.to_thread(look)  # importing torch takes seconds: the worker must stay responsive
        return found | {"gpus": dask_worker.state.total_resources.get("GPU", 0)}

    return probe


def _gone(answer: Any) -> bool:
    """Whether the worker closed while it was asked."""
    return isinstance(answer, OSError)


def _list(refused: dict[str, str], more: list[str]) -> str:
    shown = [*(f"{address} ({why})" for address, why in refused.items()), *more]
    return "; ".join(shown[:5] + ([f"and {len(shown) - 5} others"] if len(shown) > 5 else []))
