"""The store: every file that was ever installed, by digest, once for all projects of a user.

    sha256/<two digits>/<64 digits>         a file, read-only
    sha256/<two digits>/<64 digits>.part    what an interrupted download has left
    sha256/<two digits>/<64 digits>.lock    held while the file is fetched
    .users/                                 one lock for each command that is taking files

Files are verified before they get their names and whenever they are taken; one that is not what
its name says is fetched again (`specs/store.md`).
"""

from __future__ import annotations

import secrets
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, NamedTuple

from modpm.core.formats.digest import digest_file
from modpm.registry.storage.downloading import download
from modpm.registry.storage.materialising import materialise
from modpm.registry.system.durable import locked, move
from modpm.registry.system.home import home

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from modpm.core.formats.manifest import FileRecord
    from modpm.registry.storage.downloading import Source

_READ_ONLY = 0o444


class _State(NamedTuple):
    """What is different as soon as somebody has written to a file, even if he hides it."""

    device: int
    inode: int
    size_bytes: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, path: Path) -> _State:
        status = path.stat(follow_symlinks=False)
        times = status.st_mtime_ns, status.st_ctime_ns
        return cls(status.st_dev, status.st_ino, status.st_size, *times)


# Of files whose bytes this process has read, so that installing need not read them twice.
_verified: dict[_State, str] = {}


class Store:
    """The content-addressed files in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

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
            state = _State.of(path)
            if state.size_bytes != record.size_bytes or digest_file(path) != record.digest:
                return False
        except FileNotFoundError:
            return False
        _verified[state] = record.digest
        return True

    def fetch(
        self,
        record: FileRecord,
        sources: Sequence[Source],
        advance: Callable[[int], None] = lambda _n_bytes: None,
    ) -> None:
        """Make sure that a file is there and intact.

        Args:
            record: Its size and digest.
            sources: Where to get it; opened only if it is needed, the first first.
            advance: Told how many bytes have arrived.

        Raises:
            ModpmError: What `download` raises; nothing has got the file's name then.
        """
        path = self.path(record.digest)
        if self.has(record):
            return
        with locked(path.with_name(f"{path.name}.lock"), is_kept=False):
            if self.has(record):
                return
            part = path.with_name(f"{path.name}.part")
            download(part, record, sources, advance)
            part.chmod(_READ_ONLY)
            move(part, path)
            _verified[_State.of(path)] = record.digest

    def give(self, record: FileRecord, target: Path) -> None:
        """Make a file of the store appear elsewhere, read-only (`materialising`)."""
        path = self.path(record.digest)
        is_verified = _verified.get(_State.of(path)) == record.digest
        materialise(path, target)
        if is_verified:
            _verified[_State.of(target)] = record.digest

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Keep what is fetched meanwhile from being pruned before it is taken.

        Raises:
            ModpmError: `busy`, if somebody has been pruning for five minutes.
        """
        with ExitStack() as stack:
            with locked(self._gate):
                user = self._users / secrets.token_hex(8)
                stack.enter_context(locked(user, is_kept=False))
            yield

    @contextmanager
    def unused(self) -> Iterator[None]:
        """Wait until nobody takes files, and let nobody begin meanwhile.

        Raises:
            ModpmError: `busy`, if others have taken files for five minutes.
        """
        with locked(self._gate):
            for user in sorted(self._users.iterdir()) if self._users.is_dir() else []:
                with locked(user, is_kept=False):
                    pass  # it has ended, or it died and left this
            yield

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
    return _verified.get(_State.of(path)) or digest_file(path)
