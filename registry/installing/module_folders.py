"""The folders of installed modules: made whole from the store, removed when nobody needs them.

A file of an installed module has one fixed time of modification. Whatever writes to it gives it
another, so that the folder is verified byte by byte before it is trusted again. What changes
bytes and keeps times, such as a failing disk, only `modpm verify` finds (W-12).
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

from modpm.core.errors import ModpmError
from modpm.core.system.durable import (
    entries_below,
    folders_between,
    is_real_folder,
    place,
    remove_folder,
)
from modpm.registry.storage.store import Store, verified_digest

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from modpm.core.formats.distribution import Distribution
    from modpm.registry.projects.lockfile import Pin
    from modpm.registry.projects.project import Project


SEAL_TIME_NS = 315_532_800 * 10**9
"""The start of 1980 in UTC: the same everywhere, and known to every file system."""

_READ_ONLY = {errno.EACCES, errno.EPERM, errno.EROFS}
"""Somebody else's files, or a file system that is only read: they are verified anew each time."""


def is_intact(folder: Path, pin: Pin) -> bool:
    """Tell whether a folder is what a pin says; its bytes are read only if somebody wrote to it."""
    if is_sealed(folder, pin):
        return True
    if not is_verified(folder, pin):
        return False
    seal(folder)
    return True


def seal(folder: Path) -> None:
    """Give all files of a folder that has just been verified the fixed time."""
    with os.scandir(folder) as scanned:
        entries = list(scanned)
    for entry in entries:
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
        with os.scandir(folder) as scanned:
            found = {entry.name: entry.stat(follow_symlinks=False) for entry in scanned}
    except FileNotFoundError:
        return False
    return found.keys() == pin.files.keys() and all(
        stat.S_ISREG(status.st_mode)
        and status.st_size == pin.files[name].size_bytes
        and status.st_mtime_ns == SEAL_TIME_NS
        for name, status in found.items()
    )


def is_verified(folder: Path, pin: Pin) -> bool:
    """Tell whether a folder is what a pin says; every byte of it is read."""
    from modpm.registry.installing.verification import verify_module  # noqa: PLC0415 -- seldom needed

    try:
        verify_module(folder, pin)
    except (ModpmError, OSError):
        return False
    return True


def stage(place: Project, pin: Pin, *, is_checked: bool = False) -> Distribution:
    """Make the folder of a module where it can be checked, as `make_folder`."""
    staged = place.staging / pin.digest.replace(":", "-")
    distribution = make_folder(staged, pin, is_checked=is_checked)
    seal(staged)
    return distribution


def make_folder(folder: Path, pin: Pin, *, is_checked: bool = False) -> Distribution:
    """Make a folder of the files of a pin, which the store has, and return it, checked.

    Where files of these digests were found to be the release, those that are so are enough.
    """
    store = Store.of_user()
    folder.mkdir()
    for name, record in pin.files.items():
        store.give(record, folder / name)
    are_right = is_checked and all(
        verified_digest(folder / name) == record.digest for name, record in pin.files.items()
    )
    if are_right:
        from modpm.core.formats.distribution import read_distribution  # noqa: PLC0415 -- as above

        return read_distribution(folder)
    from modpm.registry.installing.verification import verify_module  # noqa: PLC0415 -- as above

    return verify_module(folder, pin, digest_of=verified_digest)


def put(staged: Path, target: Path, root: Path) -> None:
    """Move a staged folder to its place, over a damaged one; a link below the root makes way.

    Whether the disk has it is up to the caller: one that is missing something is made anew.
    """
    for folder in folders_between(target, root):
        if not is_real_folder(folder, root):
            remove_folder(folder)
    remove_folder(target)
    place(staged, target)


def other_folders(place: Project, pins: Iterable[Pin]) -> list[Path]:
    """Return whatever no pinned module needs there, but not what is inside it."""
    used = {place.module_path(pin) for pin in pins}
    above = {parent for folder in used for parent in (folder.parent, folder.parent.parent)}
    return [
        path
        for path in entries_below(place.modules_path, 3)
        if (path not in used if path not in above else not is_real_folder(path, place.modules_path))
        and path.parent in {place.modules_path, *above}
    ]
