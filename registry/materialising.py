"""Giving a project a file of the store without copying it, where the file system can."""

from __future__ import annotations

import os
import shutil
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

# <linux/fs.h>: _IOW(0x94, 9, int)
_FICLONE = 0x40049409
_READ_ONLY = 0o444


def materialise(source: Path, target: Path) -> None:
    """Make a read-only file of the same bytes: by reflink, else hard link, else copy.

    Args:
        source: The file in the store.
        target: The file in the project; it does not exist yet.
    """
    if _reflink(source, target):
        target.chmod(_READ_ONLY)
    elif not _hard_link(source, target):
        shutil.copyfile(source, target)
        target.chmod(_READ_ONLY)
        _sync(target)


def _reflink(source: Path, target: Path) -> bool:
    if sys.platform != "linux":
        return False
    import fcntl  # noqa: PLC0415 -- there is none on other systems

    try:
        with source.open("rb") as original, target.open("xb") as clone:
            fcntl.ioctl(clone.fileno(), _FICLONE, original.fileno())
            os.fsync(clone.fileno())
    except OSError:
        target.unlink(missing_ok=True)
        return False
    return True


def _hard_link(source: Path, target: Path) -> bool:
    try:
        target.hardlink_to(source)
    except OSError:
        return False
    return True


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
