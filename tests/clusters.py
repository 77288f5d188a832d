"""Real `dask scheduler` and `dask worker` processes."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import psutil

TESTS = Path(__file__).resolve().parent
START_S = 300


class Cluster:
    """A scheduler and workers of this machine, as processes of their own; `with` ends them all."""

    def __init__(self, *, workers=2, nanny=True, arguments=(), environment=None):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.address = f"tcp://127.0.0.1:{self.port}"
        self.processes = []
        self.scheduler = self.start_scheduler()
        if workers:
            self.start_workers(workers, nanny=nanny, arguments=arguments, environment=environment)

    def start_scheduler(self):
        return self.run("scheduler", "--host", "127.0.0.1", "--port", str(self.port), "--no-dashboard")

    def start_workers(self, count=1, *, nanny=True, arguments=(), environment=None):
        kind = (
            ["--nworkers", str(count), "--preload-nanny", str(TESTS / "nanny_preload.py")] if nanny else ["--no-nanny"]
        )
        return self.run(
            "worker", self.address, "--nthreads", "1", "--no-dashboard", *kind, *arguments, **environment or {}
        )

    def run(self, command, *arguments, **environment):
        paths = [environment.pop("PYTHONPATH", ""), str(TESTS), str(TESTS.parent), os.environ.get("PYTHONPATH", "")]
        settings = (
            os.environ
            | environment
            | {
                "PYTHONPATH": os.pathsep.join(p for p in paths if p),
                "OMP_NUM_THREADS": "1",
                "DASK_DISTRIBUTED__WORKER__MULTIPROCESSING_METHOD": "forkserver",
                "DASK_LOGGING__DISTRIBUTED": "critical",
            }
        )
        line = [sys.executable, "-m", f"distributed.cli.dask_{command}", *arguments]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        # `python -m` imports from its working directory first: it must hold neither rszsl nor the scenes.
        process = subprocess.Popen(line, env=settings, cwd=tempfile.gettempdir(), **quiet)
        self.processes.append(process)
        return process

    def client(self, workers=None):
        """A client, once so many workers are there."""
        from distributed import Client

        deadline_s = time.monotonic() + START_S
        while True:
            try:
                client = Client(self.address, timeout=10, set_as_default=False)
                break
            except OSError:
                if time.monotonic() > deadline_s:
                    raise
                time.sleep(0.2)
        if workers:
            client.wait_for_workers(workers, timeout=START_S)
        return client

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in reversed(self.processes):
            end(process)


def end(process):
    """Kill a process that we started, and its children."""
    with suppress(psutil.NoSuchProcess):
        family = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        for child in family:
            with suppress(psutil.NoSuchProcess):
                child.send_signal(signal.SIGKILL)
    process.wait(timeout=30)
