"""The store: every file that was ever installed, by digest, once for all projects of a user.

    sha256/<two digits>/<64 digits>         a file, read-only
    sha256/<two digits>/<64 digits>.part    what an interrupted download has left
    sha256/<two digits>/<64 digits>.lock    held while the file is fetched
    .users/                                 one lock for each command that is taking files
    .unsettled/                             notes of files that the disk may not have yet

Files are verified before they get their names and whenever they are taken; one that is not what
its name says is fetched again (`specs/store.md`).
"""

from __future__ import annotations

import errno
import os
import sys
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from modpm.core.formats.digest import digest_file
from modpm.core.system.durable import locked, locks_in, move, refuse_links
from modpm.core.system.home import home
from modpm.core.system.threads import in_threads
from modpm.core.system.whole_files import sync_file
from modpm.registry.storage import unsettled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from modpm.core.formats.manifest import FileRecord
    from modpm.registry.storage.downloading import Source

# <linux/fs.h>: _IOW(0x94, 9, int)
_FICLONE = 0x40049409
_CANNOT_REFLINK = {errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY}
_READ_ONLY = 0o444


_State = tuple[int, int, int, int, int]


def _state_of(path: Path) -> _State:
    """Return what is different as soon as somebody has written to a file, even if he hides it."""
    status = path.stat(follow_symlinks=False)
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


# Of files whose bytes this process has read, so that installing need not read them twice.
_verified: dict[_State, str] = {}


class Store:
    """The content-addressed files in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._notes = unsettled.Notes(folder / ".unsettled")
        self._noted: set[str] = set()

    @classmethod
    def of_user(cls) -> Store:
        """Return the store under `MODPM_HOME`."""
        return cls(home() / "blobs")

    def path(self, digest: str) -> Path:
        """Return where the file of a digest is, or would be."""
        algorithm, _, digits = digest.partition(":")
        return self.folder / algorithm / digits[:2] / digits

    def has(self, record: FileRecord) -> bool:
        """Say whether a file is there and intact; all of it is read."""
        path = self.path(record.digest)
        try:
            state = _state_of(path)
            if state[2] != record.size_bytes or digest_file(path) != record.digest:
                return False
        except FileNotFoundError:
            return False
        _verified[state] = record.digest
        return True

    def announce(self, digests: Iterable[str]) -> bool:
        """Note files that are about to be fetched, so that none of them waits for the disk.

        Where that is not possible, each is down on the disk before it has its name.
        """
        announced = set(digests)
        if announced and not self._notes.add(announced):
            return False
        self._noted |= announced
        return True

    def settle(self, *, is_thorough: bool = False) -> None:
        """Read the files that the disk may not have had when the system was started anew.

        A torn one is removed, and what projects have of it is given another time first, so that
        they see that it is not what they verified. If `is_thorough`, those too that the disk may
        not have yet, so that it has them.

        Raises:
            ModpmError: `busy`, if somebody else has been at it for five minutes.
        """
        choose = self._notes.all if is_thorough else self._notes.of_earlier_runs
        if not choose():
            return
        with locked(self.folder / ".unsettled.lock"):
            notes = choose()
            in_threads(self._settle, unsettled.digests_in(notes), "files cannot be read")
            unsettled.forget(notes)

    def fetch(
        self,
        record: FileRecord,
        sources: Sequence[Source],
        advance: Callable[[int], None] = lambda _n_bytes: None,
    ) -> None:
        """Make sure that a file is there and intact; sources are opened only if it is not.

        Unless it was announced, it is down on the disk before it has its name.

        Raises:
            ModpmError: What `download` raises; nothing has got the file's name then.
        """
        path = self.path(record.digest)
        if self.has(record):
            return
        is_noted = record.digest in self._noted
        refuse_links(path, self.folder)
        if is_noted:
            path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path.with_name(f"{path.name}.lock"), is_kept=False):
            if self.has(record):
                return
            from modpm.registry.storage.downloading import download  # noqa: PLC0415 -- only for this

            part = path.with_name(f"{path.name}.part")
            download(part, record, sources, advance, is_synced=not is_noted)
            part.chmod(_READ_ONLY)
            if is_noted:
                part.replace(path)
            else:
                move(part, path)
            _verified[_state_of(path)] = record.digest

    def give(self, record: FileRecord, target: Path) -> None:
        """Make a file of the store appear elsewhere, read-only (`materialise`)."""
        path = self.path(record.digest)
        is_verified = _verified.get(_state_of(path)) == record.digest
        materialise(path, target)
        if is_verified:
            _verified[_state_of(target)] = record.digest

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Keep what is fetched meanwhile from being pruned before it is taken.

        Raises:
            ModpmError: `busy`, if somebody has been pruning for five minutes.
        """
        with ExitStack() as stack:
            with locked(self._gate):
                user = self._users / os.urandom(8).hex()
                stack.enter_context(locked(user, is_kept=False))
            yield

    @contextmanager
    def unused(self) -> Iterator[None]:
        """Wait until nobody takes files, and let nobody begin meanwhile.

        Raises:
            ModpmError: `busy`, if others have taken files for five minutes.
        """
        with locked(self._gate):
            for user in locks_in(self._users):
                with locked(user, is_kept=False):
                    pass  # it has ended, or it died and left this
            yield

    def _settle(self, digest: str) -> None:
        path = self.path(digest)
        try:
            is_torn = digest_file(path) != digest
            if is_torn:
                os.utime(path)
            sync_file(path)
            if is_torn:
                path.unlink()
        except FileNotFoundError:  # it never got its name, or was pruned
            pass

    @property
    def _gate(self) -> Path:
        return self.folder / ".lock"

    @property
    def _users(self) -> Path:
        return self.folder / ".users"


def verified_digest(path: Path) -> str:
    """Return the digest of a file's bytes.

    They are read, unless this process has read them already, in the store or from a registry, and
    the file is as it was then.

    Raises:
        OSError: The file cannot be read.
    """
    return _verified.get(_state_of(path)) or digest_file(path)


def materialise(source: Path, target: Path) -> None:
    """Make a read-only file of the same bytes: by reflink, else hard link, else copy."""
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
