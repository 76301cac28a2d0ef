"""Giving a project a file of the store without copying it, where the file system can."""

from __future__ import annotations

import errno
import os
import sys
from typing import TYPE_CHECKING

from modpm.core.formats.whole_files import sync_file

if TYPE_CHECKING:
    from pathlib import Path

# <linux/fs.h>: _IOW(0x94, 9, int)
_FICLONE = 0x40049409
_CANNOT_REFLINK = {errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY}
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
        from shutil import copyfile  # noqa: PLC0415 -- only where there are no links

        copyfile(source, target)
        target.chmod(_READ_ONLY)
        sync_file(target)


# Pairs of devices that share no blocks, so that it is tried once and not for every file.
_without_reflinks: set[tuple[int, int]] = set()


def _reflink(source: Path, target: Path) -> bool:
    if sys.platform != "linux":
        return False
    devices = source.stat().st_dev, target.parent.stat().st_dev
    if devices in _without_reflinks:
        return False
    import fcntl  # noqa: PLC0415 -- there is none on other systems

    try:
        with source.open("rb") as original, target.open("xb") as clone:
            fcntl.ioctl(clone.fileno(), _FICLONE, original.fileno())
            os.fsync(clone.fileno())
    except OSError as error:
        target.unlink(missing_ok=True)
        if error.errno in _CANNOT_REFLINK:
            _without_reflinks.add(devices)
        return False
    return True


def _hard_link(source: Path, target: Path) -> bool:
    try:
        target.hardlink_to(source)
    except OSError:
        return False
    return True
