"""From `--scheduler` to a Dask client."""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rszsl.errors import ClusterError, OptionError

if TYPE_CHECKING:
    from distributed import Client

WORKER_BYTES = 2 * 1024**3
"""Memory to reckon with for a CPU worker: torch and a batch of tiles take some 0.7 GB."""
CONNECT_S = 20
CALM = {
    "distributed.admin.tick.interval": "1s",
    "distributed.admin.system-monitor.interval": "5s",
    "distributed.worker.profile.interval": "500ms",
}
"""How often Dask looks at its own processes on the cores that the workers need; its defaults are 20, 500 and 10 ms
(docs/DASK.md)."""


@contextmanager
def connected(scheduler: str | None, workers: int | None, device: str) -> "Iterator[Client | None]":
    """Give a client: none for `none`, of a cluster of this machine for `local`, else of the scheduler at an address.

    Raises:
        ClusterError: where nobody answers.
        OptionError: for an address that is none.
    """
    if workers is not None and scheduler != "local":
        raise OptionError(f"--workers {workers} sizes the cluster of --scheduler local; it goes with nothing else")
    if scheduler is None or scheduler == "none":
        yield None
    elif scheduler == "local":
        with _local(workers, device) as client:
            yield client
    elif "://" in scheduler:
        with _remote(scheduler) as client:
            yield client
    else:
        raise OptionError(f'--scheduler "{scheduler}" is none of none, local, tcp://HOST:PORT (or tls://, ucx://)')


def local_workers(gpus: int, asked: int | None = None) -> dict[int, dict[str, Any]]:
    """Nanny options of each worker of this machine: a process a GPU, else a process a core that memory allows."""
    from dask.system import CPU_COUNT
    from distributed.system import MEMORY_LIMIT

    if gpus:
        return {
            i: {"nthreads": 1, "resources": {"GPU": 1}, "env": _see_gpu(i)} for i in range(min(gpus, asked or gpus))
        }
    fitting = max(1, min(CPU_COUNT, int(MEMORY_LIMIT // WORKER_BYTES)))
    count = asked or fitting
    threads = str(max(1, CPU_COUNT // count))
    limit = int(MEMORY_LIMIT // count)
    return {
        i: {"nthreads": 1, "memory_limit": limit, "env": {"OMP_NUM_THREADS": threads, "MALLOC_ARENA_MAX": "1"}}
        for i in range(count)
    }


def calm() -> dict[str, str]:
    """Settings of `CALM` that the user's own files and variables of Dask leave open."""
    import dask.config

    own = dask.config.collect()
    return {name: value for name, value in CALM.items() if dask.config.get(name, None, config=own) is None}


def performance_report(client: "Client | None", path: Path | None) -> AbstractContextManager[Any]:
    """Dask's own report of the run, as HTML.

    Raises:
        OptionError: where there is no cluster, or bokeh, which draws it, is missing.
    """
    if path is None:
        return nullcontext()
    if client is None:
        raise OptionError(f"--report {path} is of a Dask cluster; give --scheduler local or tcp://…")
    if find_spec("bokeh") is None:
        raise OptionError(f"--report {path} is drawn by bokeh, which is missing; pip install bokeh")
    from distributed import performance_report as report

    made: AbstractContextManager[Any] = report(filename=str(path))
    return made


@contextmanager
def _local(workers: int | None, device: str) -> "Iterator[Client]":
    import logging

    import dask.config
    from distributed import Client, Nanny, Scheduler, SpecCluster

    spec = {i: {"cls": Nanny, "options": o} for i, o in local_workers(_gpus(device), workers).items()}
    scheduler = {"cls": Scheduler, "options": {"dashboard_address": ":0", "host": "127.0.0.1", "port": 0}}
    with (
        dask.config.set(calm()),
        SpecCluster(workers=spec, scheduler=scheduler, name="rszsl", silence_logs=logging.CRITICAL) as cluster,
        Client(cluster) as client,
    ):
        yield client


@contextmanager
def _remote(address: str) -> "Iterator[Client]":
    from distributed import Client

    try:
        client = Client(address, timeout=CONNECT_S)
    except (OSError, ValueError) as err:
        raise ClusterError(f"no scheduler answers at {address}: {err}; start one with: dask scheduler") from err
    with client:
        yield client


def _gpus(device: str) -> int:
    if device not in ("auto", "cuda"):
        return 0
    import torch

    return torch.cuda.device_count()


def _see_gpu(number: int) -> dict[str, str]:
    """The environment of the worker of one GPU, among those that this process may see."""
    seen = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return {"CUDA_VISIBLE_DEVICES": seen[number] if seen else str(number)}
