"""Telling in no time that an installed folder is as it was made, without reading its files.

A file of an installed module has one fixed time of modification. Whatever writes to it gives it
another, so that the folder is verified byte by byte before it is trusted again. What changes
bytes and keeps times, such as a failing disk, only `modpm verify` finds (W-12).
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from modpm.registry.projects.lockfile import Pin

SEAL_TIME_NS = 315_532_800 * 10**9
"""The start of 1980 in UTC: the same everywhere, and known to every file system."""

_READ_ONLY = {errno.EACCES, errno.EPERM, errno.EROFS}
"""Somebody else's files, or a file system that is only read: they are verified anew each time."""


def seal(folder: Path) -> None:
    """Give all files of a folder that has just been verified the fixed time."""
    for entry in os.scandir(folder):
        status = entry.stat(follow_symlinks=False)
        if status.st_mtime_ns == SEAL_TIME_NS:
            continue
        try:
            os.utime(entry.path, ns=(status.st_atime_ns, SEAL_TIME_NS), follow_symlinks=False)
        except OSError as error:
            if error.errno not in _READ_ONLY:
                raise


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
