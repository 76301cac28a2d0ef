"""Memory that a process frees and needs again."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from modpm.core.system.memory import _CHOSEN

CODE = """
import resource
from modpm.core.system.memory import keep_freed_memory
keep_freed_memory()
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    pieces = [b"x" * (6 << 20) for _ in range(4)]
    del pieces
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print([faults() for _ in range(4)][-1])
"""


def faults(**environment: str) -> int:
    """Return how many pages are mapped anew where 24 MiB are needed again."""
    own = {name: value for name, value in os.environ.items() if name not in _CHOSEN}
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        env=own | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it is glibc's allocator")
def test_memory_that_was_freed_is_there_unless_its_user_chose_otherwise() -> None:
    n_pages = (24 << 20) // os.sysconf("SC_PAGE_SIZE")
    assert faults() < n_pages / 100
    assert faults(MALLOC_TRIM_THRESHOLD_=str(1 << 20)) > n_pages / 2
