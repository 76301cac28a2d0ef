"""Telling in no time that an installed folder is as it was made, without reading its files.

A file of an installed module has one fixed time of modification. Whatever writes to it gives it
another, so that the folder is verified byte by byte before it is trusted again. What changes
bytes and keeps times, such as a failing disk, only `modpm verify` finds (W-12).
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from modpm.registry.projects.lockfile import Pin

SEAL_TIME_NS = 315_532_800 * 10**9
"""The start of 1980 in UTC: the same everywhere, and known to every file system."""


def seal(folder: Path) -> None:
    """Give all files of a folder that has just been verified the fixed time."""
    for entry in os.scandir(folder):
        status = entry.stat(follow_symlinks=False)
        if status.st_mtime_ns == SEAL_TIME_NS:
            continue
        with suppress(PermissionError):  # somebody else's store: verified anew each time
            os.utime(entry.path, ns=(status.st_atime_ns, SEAL_TIME_NS), follow_symlinks=False)


def is_sealed(folder: Path, pin: Pin) -> bool:
    """Tell whether a folder has the files of a pin, and nobody wrote to one since it was sealed."""
    try:
        found = {entry.name: entry.stat(follow_symlinks=False) for entry in os.scandir(folder)}
    except FileNotFoundError:
        return False
    return found.keys() == pin.files.keys() and all(
        stat.S_ISREG(status.st_mode)
        and status.st_size == pin.files[name].size_bytes
        and status.st_mtime_ns == SEAL_TIME_NS
        for name, status in found.items()
    )
