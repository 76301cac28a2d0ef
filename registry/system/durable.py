"""Writing that a crash cannot tear: whole files and whole folders, by rename, after fsync.

Everything is first made in a staging folder, on the same file system as the place it is for and
under the lock of that place, so that whatever lies in there when the lock is taken is what a crash
has left behind.
"""

from __future__ import annotations

import secrets
import shutil
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from modpm.core.errors import ModpmError
from modpm.core.formats.whole_files import sync_folder, write_new
from modpm.registry.system.threads import in_threads

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

LOCK_TIMEOUT_SECONDS = 300.0


@contextmanager
def locked(lock: Path, *, is_kept: bool = True) -> Iterator[None]:
    """Hold a lock that excludes other processes and threads.

    Args:
        lock: The lock file.
        is_kept: Whether it stays when the lock is released.

    Raises:
        ModpmError: `busy`, if somebody else holds the lock for five minutes.
    """
    make_folders(lock.parent)
    if not lock.exists():
        lock.touch()  # with the mode of every other file, so that a group can share the folder
    try:
        with FileLock(lock, timeout=LOCK_TIMEOUT_SECONDS):
            try:
                yield
            finally:
                if not is_kept:
                    _remove_lock(lock)
    except Timeout:
        raise ModpmError(
            "another process is at work here",
            code="busy",
            where=str(lock.parent),
            why=f"it has held the lock for {LOCK_TIMEOUT_SECONDS:.0f} seconds",
            hint="wait for it to end, and run the command again",
        ) from None


def _remove_lock(lock: Path) -> None:
    # Whoever waits for it sees that it has gone, and makes a new one. Windows removes no open file.
    with suppress(PermissionError):
        lock.unlink(missing_ok=True)


@contextmanager
def exclusively(lock: Path, staging: Path) -> Iterator[None]:
    """Hold a lock, with an empty staging folder.

    Args:
        lock: As for `locked`.
        staging: What the lock guards, beside it; emptied at the start, removed at the end.

    Raises:
        ModpmError: As `locked`.
    """
    with locked(lock):
        remove_folder(staging)
        staging.mkdir()
        try:
            yield
        finally:
            remove_folder(staging)


def replace_files(contents: Mapping[Path, bytes], staging: Path) -> None:
    """Write or replace files, each in one step, in the order given.

    All of them are written before the first takes its place, so that a full disk changes none.

    Args:
        contents: All of each file.
        staging: A folder on the same file system.
    """
    parts = {path: staging / f"{path.name}.{secrets.token_hex(4)}" for path in contents}
    for path, content in contents.items():
        write_new(parts[path], content)
    for path, part in parts.items():
        move(part, path)


def move(source: Path, target: Path) -> None:
    """Rename a file over another, or a folder to a name that is free, down to the disk."""
    make_folders(target.parent)
    source.replace(target)
    sync_folder(target.parent)


def place(source: Path, target: Path) -> None:
    """Rename as `move` does, and leave it to the caller when the disk has it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    source.replace(target)


def sync_folders(folders: Iterable[Path]) -> None:
    """Write the names in folders down to the disk, in each once."""
    in_threads(sync_folder, sorted(set(folders)), "folders cannot be written")


def make_folders(folder: Path) -> None:
    """Create a folder and those it is in, each down to the disk."""
    if folder.is_dir():
        return
    make_folders(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def remove_folder(folder: Path) -> None:
    """Remove a folder and everything in it, if it is there."""
    if folder.is_dir():
        shutil.rmtree(folder)
