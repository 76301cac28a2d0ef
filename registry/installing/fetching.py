"""Fetching: the files that pins name, from their registries into the store."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from threading import Lock
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, TypeAlias

from modpm.core.errors import ModpmError
from modpm.core.system.threads import N_THREADS, N_THREADS_OF_COPYING, in_threads
from modpm.registry.addresses import Address
from modpm.registry.backends.opening import is_remote
from modpm.registry.backends.protocol import ReleaseFile
from modpm.registry.installing.verification import verify_stored
from modpm.registry.storage.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from modpm.core.formats.manifest import FileRecord
    from modpm.registry.backends.protocol import Backend
    from modpm.registry.projects.lockfile import Pin
    from modpm.registry.storage.downloading import Source

Progress: TypeAlias = Callable[[int, int], None]
"""Called with the bytes that have arrived and those that must arrive; never twice at once."""

SMALL_BYTES = 1024 * 1024
"""Up to here, what a file of this machine costs is not its bytes."""


class Meter:
    """Counts the bytes of all downloads of one command, of those that must arrive."""

    def __init__(self, total_bytes: int, progress: Progress | None) -> None:
        self._total_bytes = total_bytes
        self._progress = progress
        self._n_bytes = 0
        self._lock = Lock()
        self._is_stopped = False

    def advance(self, n_bytes: int) -> None:
        """Count bytes that have arrived; a negative number if they are thrown away again.

        Raises:
            KeyboardInterrupt: Nobody wants the rest any more (`stop`).
        """
        if self._is_stopped:
            raise KeyboardInterrupt
        if self._progress is None:
            return
        with self._lock:
            self._n_bytes += n_bytes
            self._progress(self._n_bytes, self._total_bytes)

    def stop(self) -> None:
        """End every download that is still running, at its next block."""
        self._is_stopped = True


class _WantedFile(NamedTuple):
    """A file that is to be in the store, and the pin that it is of."""

    pin: Pin
    name: str
    record: FileRecord

    def __str__(self) -> str:
        return f"{self.name} of {self.pin.module} {self.pin.version}"


def fetch(
    pins: Iterable[Pin],
    addresses: Sequence[Address],
    base: Path,
    *,
    offline: bool = False,
    progress: Progress | None = None,
) -> frozenset[Pin]:
    """Make sure that the store has every file of every pin; return the pins that were verified.

    Releases of which files were missing are verified once all are there.

    Args:
        pins: The releases.
        addresses: Registries that may help out with a file that a pin's own registry does not
            have: the digest decides whether it is the same.
        base: What relative paths of registries are relative to.
        offline: Open no registry: everything must be in the store.
        progress: Told how many bytes have arrived, of those that the store does not have.

    Raises:
        ModpmError: `offline`, naming every file that is missing; `truncated`, `wrong-digest`,
            `missing-file`, `registry-missing` or what the network does; what `verify_stored`
            raises. Several failures are one error, which has the code of the first.
    """
    store, pins = Store.of_user(), tuple(pins)
    wanted = _wanted(pins)
    are_there = in_threads(
        lambda file: store.has(file.record),
        wanted,
        "files cannot be read",
        is_brief=lambda file: (
            file.record.size_bytes <= SMALL_BYTES or not store.path(file.record.digest).exists()
        ),
    )
    missing = [file for file, is_there in zip(wanted, are_there, strict=True) if not is_there]
    if missing and offline:
        raise _offline(missing, store)
    store.announce(file.record.digest for file in missing)
    meter = Meter(sum(file.record.size_bytes for file in missing), progress)
    registries = _Registries(addresses, base)
    are_near = not any(is_remote(file.pin.registry.location(base)) for file in missing)
    in_threads(
        lambda file: store.fetch(file.record, registries.sources(file), meter.advance),
        missing,
        "files cannot be fetched",
        meter.stop,
        n_threads=N_THREADS_OF_COPYING if are_near else N_THREADS,
        is_brief=lambda file: are_near and file.record.size_bytes <= SMALL_BYTES,
    )
    arrived = {file.record.digest for file in missing}
    completed = [
        pin for pin in pins if any(record.digest in arrived for record in pin.files.values())
    ]
    in_threads(
        lambda pin: verify_stored(pin, store),
        completed,
        "releases are not what was published",
        is_brief=lambda _: True,
    )
    return frozenset(completed)


def _wanted(pins: Iterable[Pin]) -> list[_WantedFile]:
    """Return the files in the order of the pins, each once, whichever pins it is of."""
    once: dict[tuple[str, int], _WantedFile] = {}
    for pin in pins:
        for name, record in pin.files.items():
            key = record.digest, record.size_bytes
            once.setdefault(key, _WantedFile(pin, name, record))
    return list(once.values())


class _Registries:
    """The registries that files may come from, each opened once, when it is needed."""

    def __init__(self, addresses: Sequence[Address], base: Path) -> None:
        self._addresses = addresses
        self._opened = cache(partial(Address.open, base=base))
        self._lock = Lock()

    def sources(self, file: _WantedFile) -> list[Source]:
        """Return where a file may come from: its own registry, and then the others."""
        from modpm.registry.backends.retrying import hurried  # noqa: PLC0415 -- only for what is not there
        from modpm.registry.storage.downloading import Source  # noqa: PLC0415 -- as above

        addresses = dict.fromkeys([file.pin.registry, *self._addresses])
        return [
            Source(f"{file}, registry {address.url}", partial(self._open, address, file), hurried)
            for address in addresses
        ]

    def _open(self, address: Address, file: _WantedFile, offset: int) -> BinaryIO:
        pin = file.pin
        backend = self._backend(address)
        # A commit is one of the registry that the module was locked from.
        revision = pin.revision if address == pin.registry else None
        return backend.open_file(ReleaseFile(pin.module, pin.version, file.name, revision), offset)

    def _backend(self, address: Address) -> Backend:
        with self._lock:
            return self._opened(address)


def _offline(missing: Sequence[_WantedFile], store: Store) -> ModpmError:
    files = sorted(missing, key=lambda file: (file.pin.module, file.name))
    return ModpmError(
        "files are not in the store, and nothing may be fetched",
        code="offline",
        where=str(store.folder),
        why="\n".join(f"{file.record.digest} ({file})" for file in files),
        hint="run the command once without `--offline`",
    )
