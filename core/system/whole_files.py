"""Files and folders that appear whole or not at all, whenever a crash or a full disk comes."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from modpm.core.errors import ModpmError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_FULL = ("disk-full", "free some space and run the command again")
_DENIED = ("permission-denied", "check who owns it, or name another folder")
_CODES = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EACCES: _DENIED,
    errno.EPERM: _DENIED,
    errno.EROFS: _DENIED,
}


def write_file(path: Path, data: bytes) -> None:
    """Write or replace a file in one step, down to the disk.

    Args:
        path: The file; its folder exists.
        data: All of it.

    Raises:
        ModpmError: `disk-full`, `permission-denied` or `cannot-write`; what was there is
            unchanged.
    """
    temporary = path.with_name(f".{path.name}.{uuid4().hex}.new")
    try:
        write_new(temporary, data)
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise write_error(error, path) from error


def write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write or replace a folder of files.

    Args:
        folder: The folder; those it is in are made. What is there is moved aside, and removed
            when the new folder has its name.
        files: Name and content of all its files, also of such as are in a folder of it.

    Raises:
        ModpmError: `disk-full`, `permission-denied` or `cannot-write`; what was there is
            unchanged.
    """
    folder = folder.absolute()
    temporary = folder.with_name(f".{folder.name}.{uuid4().hex}.new")
    try:
        temporary.mkdir(parents=True)
        for name, data in files.items():
            (temporary / name).parent.mkdir(exist_ok=True)
            write_new(temporary / name, data)
        for inner in {(temporary / name).parent for name in files} | {temporary}:
            sync_folder(inner)
        _swap(temporary, folder)
        sync_folder(folder.parent)
    except OSError as error:
        raise write_error(error, folder) from error
    finally:
        _remove_folder(temporary)


def is_free(folder: Path) -> bool:
    """Say whether nothing is there, or an empty folder."""
    if folder.is_symlink() or not folder.exists():
        return not folder.is_symlink()
    return folder.is_dir() and not any(folder.iterdir())


def read_at_most(path: Path, max_size_bytes: int) -> bytes:
    """Return the bytes of a file, and of a larger one just enough for its parser to refuse it.

    Args:
        path: The file.
        max_size_bytes: The most that the parser takes.

    Raises:
        OSError: The file cannot be read, or is a pipe or a device, which could be waited for.
    """
    with open(path, "rb", opener=_open_at_once) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        return file.read(max_size_bytes + 1)


def read_file(path: Path, max_size_bytes: int) -> bytes:
    """Return the bytes of a file, as `read_at_most`.

    Raises:
        ModpmError: `unreadable-file`.
    """
    try:
        return read_at_most(path, max_size_bytes)
    except OSError as error:
        raise read_error(error, path) from error


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def write_error(error: OSError, path: Path) -> ModpmError:
    """Return the error for a file or folder that the operating system did not let us write."""
    code, hint = _CODES.get(error.errno or 0, ("cannot-write", None))
    return ModpmError(
        f"`{path.name}` cannot be written",
        code=code,
        where=str(path),
        why=(error.strerror or str(error)).lower(),
        hint=hint,
    )


@contextmanager
def explained(doing: str) -> Iterator[None]:
    """Turn an `OSError` into a `ModpmError`, which says what could not be done (`install`).

    Raises:
        ModpmError: `disk-full`, `permission-denied` or `cannot-write`.
    """
    try:
        yield
    except OSError as error:
        path = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else None
        cause = write_error(error, Path(path or "."))
        raise ModpmError(
            f"cannot {doing}", code=cause.code, where=path, why=cause.why, hint=cause.hint
        ) from error


def read_error(error: OSError, path: Path) -> ModpmError:
    """Return the error for a file that the operating system did not let us read."""
    return ModpmError(
        f"`{path.name}` cannot be read",
        code="unreadable-file",
        where=str(path),
        why=(error.strerror or str(error)).lower(),
    )


def _swap(temporary: Path, folder: Path) -> None:
    if is_free(folder):
        temporary.rename(folder)
        return
    old = temporary.with_suffix(".old")
    folder.rename(old)
    try:
        temporary.rename(folder)
    except OSError:
        old.rename(folder)
        raise
    _remove(old)


def write_new(path: Path, data: bytes) -> None:
    """Write a file that does not exist yet, down to the disk."""
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync_file(path: Path) -> None:
    """Write a file down to the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Write the names in a folder down to the disk."""
    if os.name == "nt":  # Windows has no handle on a folder, and keeps renames by itself
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        _remove_folder(path)
    else:
        path.unlink(missing_ok=True)


def _remove_folder(folder: Path) -> None:
    from shutil import rmtree  # noqa: PLC0415 -- verbs that only read need none

    rmtree(folder, ignore_errors=True)


@contextmanager
def whole_tree(folder: Path) -> Iterator[Path]:
    """Give a temporary folder that takes the folder's name when all went well.

    If anything is raised, by a full disk or by the user, nothing is left behind.

    Args:
        folder: It must not exist, or be empty.

    Raises:
        ModpmError: `disk-full`, `permission-denied` or `cannot-write`.
    """
    folder = folder.absolute()
    temporary = folder.with_name(f".{folder.name}.{uuid4().hex}.new")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        temporary.rename(folder)
        sync_folder(folder.parent)
    except OSError as error:
        raise write_error(error, folder) from error
    finally:
        _remove_folder(temporary)
