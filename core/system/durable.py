"""Writing that a crash cannot tear: whole files and whole folders, by rename, after fsync.

Everything is first made in a staging folder, on the same file system as the place it is for and
under the lock of that place, so that whatever lies in there when the lock is taken is what a crash
has left behind.

Of a folder that others may have filled, such as a clone, nothing is reached through a link:
whatever is made, opened or removed in it is in it.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from modpm.core.errors import ModpmError
from modpm.core.system.threads import in_threads
from modpm.core.system.waiting import PATIENCE_SECONDS, say_waiting
from modpm.core.system.whole_files import read_at_most, sync_folder, write_new

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from filelock import BaseFileLock

LOCK_TIMEOUT_SECONDS = 300.0

_NO_FLOCK = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOLCK}
"""What file systems without locks answer, such as some that are shared over a network."""

_JUNCTION = 0xA0000003
"""What Windows tags a folder with that leads to another (`IO_REPARSE_TAG_MOUNT_POINT`)."""


@contextmanager
def locked(lock: Path, *, is_kept: bool = True) -> Iterator[None]:
    """Hold a lock that excludes other processes and threads; its file stays only if it `is_kept`.

    Raises:
        ModpmError: `busy`, if somebody else holds the lock for five minutes; `link-in-the-way`.
    """
    make_folders(lock.parent)
    refuse_other_kinds({lock: stat.S_IFREG})
    if not lock.exists():
        lock.touch()  # with the mode of every other file, so that a group can share the folder
    descriptor = _taken_at_once(lock)
    release = _acquired(lock).release if descriptor is None else partial(os.close, descriptor)
    try:
        yield
    finally:
        try:
            if not is_kept:
                # Whoever waits for it makes a new one. Windows removes no open file.
                with suppress(PermissionError):
                    lock.unlink(missing_ok=True)
        finally:
            release()


def _taken_at_once(lock: Path) -> int | None:
    """Return the open lock, held, if nobody holds it; None if it is not to be had like that.

    That is what filelock does, too, whose import takes longer than many a command.
    """
    try:
        import fcntl  # noqa: PLC0415 -- not on Windows

        descriptor = os.open(lock, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except (ImportError, OSError):
        return None
    with suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(descriptor).st_nlink:  # who held it before may have removed it
            return descriptor
    os.close(descriptor)
    return None


def _acquired(lock: Path) -> BaseFileLock:
    """Return the lock, held; whoever waits for it for two seconds is told for whom."""
    import filelock  # noqa: PLC0415 -- verbs that only read need none

    for is_soft in (False, True):
        try:
            kind = filelock.SoftFileLock if is_soft else filelock.FileLock
            path = _soft(lock) if is_soft else lock
            held: BaseFileLock = kind(path, fallback_to_soft=False)  # its own would be in our way
            try:
                held.acquire(timeout=min(PATIENCE_SECONDS, LOCK_TIMEOUT_SECONDS))
            except filelock.Timeout:
                say_waiting(f"{_holder(lock)}, which works in {lock.parent}")
                held.acquire(timeout=max(LOCK_TIMEOUT_SECONDS - PATIENCE_SECONDS, 0.0))
        except filelock.Timeout:
            break
        except OSError as error:
            if is_soft or error.errno not in _NO_FLOCK:
                raise
        else:
            return held
    raise ModpmError(
        "another process is at work here",
        code="busy",
        where=str(lock.parent),
        why=f"{_holder(lock)} has held the lock for {LOCK_TIMEOUT_SECONDS:.0f} seconds",
        hint="wait for it to end, and run the command again"
        + (f"; if it has ended, remove `{_soft(lock)}`" if _soft(lock).exists() else ""),
    )


_SOFT_SUFFIX = ".held"


def _soft(lock: Path) -> Path:
    """Return the lock that is held by being there, of one that is there always."""
    return lock.with_name(f"{lock.name}{_SOFT_SUFFIX}")


def locks_in(folder: Path) -> list[Path]:
    """Return the locks of a folder of nothing else, which are held or were left, sorted."""
    names = {path.name.removesuffix(_SOFT_SUFFIX) for path in entries_below(folder, 1)}
    return [folder / name for name in sorted(names)]


def _holder(lock: Path) -> str:
    """Say who holds a lock, where it can be told: Linux does, of processes of this machine."""
    with suppress(OSError, ValueError):
        process, machine = read_at_most(_soft(lock), 1000).decode("ascii").splitlines()[:2]
        return f"process {int(process)} on {machine}"
    with suppress(OSError):
        inode = str(lock.stat().st_ino)
        for line in Path("/proc/locks").read_text(encoding="ascii").splitlines():
            fields = line.split()
            if fields[1:2] == ["FLOCK"] and fields[5].rpartition(":")[2] == inode:
                return f"process {fields[4]}"
    return "another process"


@contextmanager
def exclusively(lock: Path, staging: Path) -> Iterator[None]:
    """Hold a lock, with a staging folder, emptied at the start and removed at the end."""
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
    Staging is on the same file system.
    """
    parts = {path: _part(path, staging) for path in contents}
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
    """Remove what is at a path, if anything is: a folder with everything in it, a link alone."""
    try:
        if kind_of(folder.lstat()) != stat.S_IFDIR:
            folder.unlink()
            return
    except FileNotFoundError:
        return
    if os.rename not in os.supports_dir_fd:
        from shutil import rmtree  # noqa: PLC0415 -- systems without such descriptors alone

        rmtree(folder)
        return
    here = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        while entries := list(os.scandir(here)):
            for entry in entries:
                if not entry.is_dir(follow_symlinks=False):
                    os.unlink(entry.name, dir_fd=here)
                else:
                    _lift(entry.name, here)
                    os.rmdir(entry.name, dir_fd=here)
    finally:
        os.close(here)
    folder.rmdir()


def _lift(name: str, here: int) -> None:
    """Move what is in a folder into the folder that it is in."""
    inside = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=here)
    try:
        for entry in list(os.scandir(inside)):
            os.rename(entry.name, os.urandom(8).hex(), src_dir_fd=inside, dst_dir_fd=here)
    finally:
        os.close(inside)


def entries_below(folder: Path, depth: int) -> Iterator[Path]:
    """Give what is in a folder, and in its folders to a depth, through no link; sorted."""
    try:
        with os.scandir(folder) as scanned:
            entries = sorted(scanned, key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in entries:
        yield folder / entry.name
        if depth > 1 and is_real_folder(folder / entry.name, folder):
            yield from entries_below(folder / entry.name, depth - 1)


def kind_of(status: os.stat_result) -> int:
    """Return the kind of what was found, without following it; a junction of Windows is a link."""
    is_junction = getattr(status, "st_reparse_tag", 0) == _JUNCTION
    return stat.S_IFLNK if is_junction else stat.S_IFMT(status.st_mode)


def is_real_folder(folder: Path, root: Path) -> bool:
    """Tell whether a path is a folder, and reached from another through no link."""
    while folder != root:
        try:
            if kind_of(folder.lstat()) != stat.S_IFDIR:
                return False
        except OSError:
            return False
        folder = folder.parent
    return True


def folders_between(path: Path, root: Path) -> list[Path]:
    """Return the folders that a path is in, below a folder that it is in, the outermost first."""
    found: list[Path] = []
    while (path := path.parent) not in (root, path.parent):
        found.insert(0, path)
    return found


def refuse_links(path: Path, root: Path) -> None:
    """Refuse a path of which a part below a folder is a link, or anything but a folder.

    How the folder is reached is up to who names it; the path need not be there yet.

    Raises:
        ModpmError: `link-in-the-way`.
    """
    refuse_other_kinds(dict.fromkeys(folders_between(path, root), stat.S_IFDIR))


def refuse_other_kinds(kinds: Mapping[Path, int]) -> None:
    """Refuse what is not there as what it is used as: a link, a pipe, a file that is a folder.

    The kinds of paths are as `stat` names them; one that is not there will do.

    Raises:
        ModpmError: `link-in-the-way`.
    """
    for path, kind in kinds.items():
        try:
            found = kind_of(path.lstat())
        except (FileNotFoundError, NotADirectoryError):
            continue
        if found != kind:
            words = "a symbolic link" if found == stat.S_IFLNK else "something else"
            wanted = "a folder" if kind == stat.S_IFDIR else "a file"
            raise ModpmError(
                f"`{path.name}` is not {wanted}",
                code="link-in-the-way",
                where=str(path),
                why=f"it is {words}, which may lead anywhere; modpm made {wanted} there, or would",
                hint="find out who put it there, and remove it",
            )


def _part(path: Path, staging: Path) -> Path:
    """Return where a file is written first: where a rename reaches its place from."""
    name = f"{path.name}.{os.urandom(4).hex()}"
    is_near = path.parent.stat().st_dev == staging.stat().st_dev
    return staging / name if is_near else path.with_name(f".{name}.new")
