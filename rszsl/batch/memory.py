"""Undo what Dask's nannies ask of the C library: it costs a network half as much CPU again."""

import ctypes
import os
import platform
from functools import cache

SET_BY_NANNY = "MALLOC_TRIM_THRESHOLD_"
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
KEEP_BYTES = 2**30


@cache
def keep_memory() -> None:
    """Let this process keep the memory of a layer for the next; does nothing without glibc, or without a nanny.

    A nanny sets `MALLOC_TRIM_THRESHOLD_`; glibc then gives every large array back to the system when it is freed, and
    each layer of a network fetches its pages anew.
    """
    if SET_BY_NANNY in os.environ and platform.libc_ver()[0] == "glibc":
        library = ctypes.CDLL(None)
        library.mallopt(M_MMAP_THRESHOLD, KEEP_BYTES)
        library.mallopt(M_TRIM_THRESHOLD, KEEP_BYTES)
