"""Threads that show a model tiles: on a CPU several at once, each with tiles of its own (docs/decisions/0042)."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass

import torch

MOST_THREADS = 8
"""More would wait for each other's Python; where torch may use more cores, each of these uses several."""
STEP_PX = 8 * 160 * 160
"""Pixels that such a thread shows a model at once, or one tile (docs/decisions/0042 says why not more)."""

_setting = threading.Lock()


@dataclass(frozen=True, slots=True, eq=False)
class ModelThreads:
    """Threads of one torch thread each, as long as there are few.

    Attributes:
        pool: runs them.
        count: of them.
    """

    pool: ThreadPoolExecutor
    count: int


@contextmanager
def model_threads(device: str) -> Iterator[ModelThreads | None]:
    """Make the threads that show a model its tiles, together as many as torch may use here; None: the caller does.

    Only a CPU has them. torch's own number of threads is afterwards, and for everybody else, what it was.

    Args:
        device: of the model, as `cpu` or `cuda:0`.
    """
    if device != "cpu":
        yield None
        return
    cores = torch.get_num_threads()
    count = min(cores, MOST_THREADS)
    with ThreadPoolExecutor(count, "rszsl-model") as pool:
        try:
            _start(pool, count, cores)
            yield ModelThreads(pool, count)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def cores_each(cores: int) -> int:
    """How many of a CPU's cores each of these threads may use."""
    return cores // min(cores, MOST_THREADS)


def step_of(input_px: int, *, packed: bool = False) -> int:
    """Tiles of so many pixels a side that one of these threads shows a model at once, at most.

    Twice as many where the model's matrices are `packed`: they are unpacked anew in each step.
    """
    return max(1, (2 if packed else 1) * STEP_PX // input_px**2)


def _start(pool: ThreadPoolExecutor, count: int, cores: int) -> None:
    """Start all threads and share the cores among them.

    torch keeps the number for each thread that it has met, and the last one that was set for those to come.
    """
    together = threading.Barrier(count)
    with _setting:
        try:
            wait([pool.submit(_enter, cores_each(cores), together) for _ in range(count)])
        finally:
            together.abort()
            torch.set_num_threads(cores)


def _enter(cores: int, together: threading.Barrier) -> None:
    """Set what a thread may use, and wait for the others: one that were done could be given their turn, too."""
    torch.get_num_threads()  # torch meets the thread; else it would do so at its first tile, and set the number anew
    torch.set_num_threads(cores)
    together.wait()
