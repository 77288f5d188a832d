"""Imports of large libraries, made shorter."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_collector() -> Iterator[None]:
    """Keep Python from looking for garbage while modules are imported, which make many objects and no garbage.

    What was made is then left out of later searches. torch and torchgeo take a quarter less time so
    (`tests/benchmarks/bench_launch.py`).
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
