"""What the C library does with memory that a network frees."""

import ctypes
import sys
from functools import cache

TRIM_THRESHOLD, MMAP_THRESHOLD, ARENA_MAX = -1, -3, -8
"""Names of `mallopt` in glibc's malloc.h."""
KEEP_BYTES = 1 << 30


@cache
def keep_freed_memory() -> None:
    """Let glibc keep what a batch frees for the next one, instead of a page fault for each page of every batch.

    Threads share one arena, as arenas of their own give large blocks back all the same; those that have one keep it, so
    the command line asks for this first of all. For the whole process; nothing happens where there is no glibc. What
    it gains: docs/decisions/0041-precision.md and 0042. It also undoes the `MALLOC_TRIM_THRESHOLD_` that Dask's nannies
    set for their workers.
    """
    if not sys.platform.startswith("linux"):
        return
    tune = getattr(ctypes.CDLL(None), "mallopt", None)
    if tune is not None:
        tune(MMAP_THRESHOLD, KEEP_BYTES)
        tune(TRIM_THRESHOLD, KEEP_BYTES)
        tune(ARENA_MAX, 1)
