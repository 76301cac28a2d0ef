"""Looking after the store: how large it is, what is unused, what is damaged.

A file of the store that a project uses is hard-linked into it, so that it has more than one name
(`specs/store.md`). Where the file system makes reflinks or copies instead, a project depends on no
file of the store, and every file counts as unused.
"""

from __future__ import annotations

import re
import stat
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from modpm.core.errors import ModpmError
from modpm.core.formats.digest import digest_file
from modpm.core.system.durable import entries_below
from modpm.core.system.threads import in_threads
from modpm.core.system.whole_files import explained
from modpm.registry.storage.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

PARTIAL_AGE_SECONDS = 24 * 60 * 60.0
"""Below this age a partial file is kept: the download may be continued."""

_DIGITS = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class StoredFile:
    """A file of the store, and whether a project has it, too."""

    path: Path
    size_bytes: int
    is_used: bool
    mtime: float

    @property
    def digest(self) -> str:
        """The digest that its name says."""
        return f"sha256:{self.path.name[:64]}"


@dataclass(frozen=True)
class Share:
    """Some files of the store: how many, and what they take."""

    n_files: int
    size_bytes: int

    @classmethod
    def of(cls, files: Iterable[StoredFile]) -> Share:
        """Return the share of some files."""
        sizes = [file.size_bytes for file in files]
        return cls(len(sizes), sum(sizes))


@dataclass(frozen=True)
class StoreSize:
    """What a store takes.

    Attributes:
        used: Files that a project on this file system has, too.
        unused: Files that no project on this file system has.
        partial: What interrupted downloads have left.
    """

    folder: Path
    used: Share
    unused: Share
    partial: Share


@dataclass(frozen=True)
class Removed:
    """What was removed from a store, or would be.

    Attributes:
        files: Whole files.
        partial: What interrupted downloads had left.
    """

    folder: Path
    files: Share
    partial: Share


def measure() -> StoreSize:
    """Return what the user's store takes.

    Raises:
        ModpmError: `permission-denied` or `cannot-write`, if it cannot be read.
    """
    store = Store.of_user()
    with explained("measure the store"):
        files, partial = list(_files(store)), list(_files(store, ".part"))
    used, unused = [f for f in files if f.is_used], [f for f in files if not f.is_used]
    return StoreSize(store.folder, Share.of(used), Share.of(unused), Share.of(partial))


def prune(*, dry_run: bool = False) -> Removed:
    """Remove the files that no project uses, and old partial files.

    Nobody loses anything: a file that is needed again is fetched again.

    Args:
        dry_run: Remove nothing.

    Raises:
        ModpmError: `busy`, if others take files from the store; `permission-denied`.
    """
    return _remove(lambda file: not file.is_used, PARTIAL_AGE_SECONDS, dry_run)


def clean(*, dry_run: bool = False) -> Removed:
    """Remove every file of the store; what projects have stays in them.

    Args:
        dry_run: Remove nothing.

    Raises:
        ModpmError: As `prune`.
    """
    return _remove(lambda _file: True, float("-inf"), dry_run)


def _remove(is_going: Callable[[StoredFile], bool], age_seconds: float, dry_run: bool) -> Removed:
    store = Store.of_user()
    if not store.folder.is_dir():
        return Removed(store.folder, Share(0, 0), Share(0, 0))
    with explained("clear the store"), store.unused():
        old = time.time() - age_seconds
        files = [file for file in _files(store) if is_going(file)]
        partial = [file for file in _files(store, ".part") if file.mtime < old]
        if not dry_run:
            for file in [*files, *partial, *_files(store, ".lock")]:
                file.path.unlink(missing_ok=True)
    return Removed(store.folder, Share.of(files), Share.of(partial))


def verify_store(*, repair: bool = False) -> list[StoredFile]:
    """Read every file of the store and compare it with the digest that its name says.

    Where all are what they should be, the disk has them then (S-18).

    Args:
        repair: Remove damaged files, so that they are fetched again when they are needed, and
            return them.

    Raises:
        ModpmError: `damaged-store`, naming all damaged files; `permission-denied`.
    """
    store = Store.of_user()
    with explained("verify the store"):
        files = list(_files(store))
        are_damaged = in_threads(_is_damaged, files, "files cannot be read")
        damaged = [file for file, it_is in zip(files, are_damaged, strict=True) if it_is]
        if repair:
            for file in damaged:
                file.path.unlink(missing_ok=True)
        if repair or not damaged:
            store.settle(is_thorough=True)
    if damaged and not repair:
        raise _damaged(damaged, store)
    return damaged


def _files(store: Store, suffix: str = "") -> Iterator[StoredFile]:
    """Give the files whose name is a digest and a suffix, sorted."""
    for path in entries_below(store.folder / "sha256", 2):
        name = path.name.removesuffix(suffix) if suffix else path.name
        if _DIGITS.fullmatch(name) and path.name == name + suffix:
            status = path.stat(follow_symlinks=False)
            if not stat.S_ISREG(status.st_mode):
                continue
            yield StoredFile(path, status.st_size, status.st_nlink > 1, status.st_mtime)


def _is_damaged(file: StoredFile) -> bool:
    try:
        return digest_file(file.path) != file.digest
    except FileNotFoundError:  # pruned meanwhile
        return False


def _damaged(damaged: list[StoredFile], store: Store) -> ModpmError:
    used = [file for file in damaged if file.is_used]
    return ModpmError(
        "files of the store are damaged",
        code="damaged-store",
        where=str(store.folder),
        why="\n".join(f"{file.digest} ({file.size_bytes} bytes)" for file in damaged),
        hint="remove them by `modpm cache verify --repair`; they are fetched again when needed"
        + (
            f"; {len(used)} are in projects, too: run `modpm verify --repair` there" if used else ""
        ),
    )
