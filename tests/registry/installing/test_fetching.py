"""Many files, from several registries, at once."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Self

import msgspec
import pytest
from tests.registry.changed_distributions import in_two_files

from modpm.core.errors import ModpmError
from modpm.core.formats.names import ModuleName
from modpm.core.system.threads import N_THREADS_OF_COPYING
from modpm.registry import addresses as addresses_module
from modpm.registry.addresses import Address
from modpm.registry.backends.directory import DirectoryRegistry
from modpm.registry.backends.opening import open_backend
from modpm.registry.index import Release
from modpm.registry.installing import fetching
from modpm.registry.installing.fetching import fetch
from modpm.registry.installing.verification import verify_stored
from modpm.registry.projects.lockfile import Pin
from modpm.registry.storage.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.registry.conftest import MakeDistribution

    from modpm.core.formats.distribution import Distribution
    from modpm.registry.backends.protocol import Backend, ReleaseFile

NAMES = [f"digits/{name}" for name in ("one", "two", "three")]


@pytest.fixture
def address(registry: Path) -> Address:
    return Address("here", str(registry))


@pytest.fixture
def pins(make_distribution: MakeDistribution, address: Address) -> list[Pin]:
    distributions = [make_distribution(name, summary=name) for name in NAMES]
    DirectoryRegistry(Path(address.url)).publish(distributions)
    return [pin_of(distribution, address) for distribution in distributions]


def pin_of(distribution: Distribution, address: Address) -> Pin:
    name = ModuleName.parse(distribution.manifest.name)
    return Pin.of(name, Release.of_distribution(distribution), address)


def manifest_path(pin: Pin) -> Path:
    return Path(pin.registry.url) / str(pin.module) / pin.version / "manifest.json"


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The locations of registries, as they are opened."""
    locations: list[str] = []

    def open_and_note(location: str) -> Backend:
        locations.append(location)
        return open_backend(location)

    monkeypatch.setattr(addresses_module, "open_backend", open_and_note)
    return locations


def is_stored(pin: Pin) -> bool:
    store = Store.of_user()
    return all(store.has(record) for record in pin.files.values())


def test_every_file_of_every_pin_is_stored(
    pins: list[Pin], tmp_path: Path, opened: list[str], registry: Path
) -> None:
    fetch(pins, [], tmp_path)

    assert all(map(is_stored, pins))
    assert opened == [str(registry)]


def test_what_is_stored_opens_no_registry(
    pins: list[Pin], tmp_path: Path, opened: list[str]
) -> None:
    fetch(pins, [], tmp_path)
    opened.clear()

    fetch(pins, [], tmp_path)
    fetch(pins, [], tmp_path, offline=True)

    assert opened == []


def test_offline_names_exactly_what_is_missing(
    pins: list[Pin], tmp_path: Path, opened: list[str]
) -> None:
    fetch(pins[:1], [], tmp_path)
    opened.clear()

    with pytest.raises(ModpmError) as caught:
        fetch(pins, [], tmp_path, offline=True)

    assert caught.value.code == "offline"
    assert opened == []
    present = {record.digest for record in pins[0].files.values()}
    wanted = {record.digest for pin in pins for record in pin.files.values()}
    why = caught.value.why or ""
    assert {line.partition(" ")[0] for line in why.splitlines()} == wanted - present
    assert "manifest.json of digits/two 1.0.0" in why


def test_all_failures_are_told_in_the_order_of_the_pins(pins: list[Pin], tmp_path: Path) -> None:
    manifest_path(pins[2]).write_bytes(b"")
    manifest_path(pins[1]).unlink()

    with pytest.raises(ModpmError) as caught:
        fetch(pins, [], tmp_path)

    assert caught.value.code == "missing-file"
    lines = (caught.value.why or "").splitlines()
    assert len(lines) == 2
    assert "digits/two" in lines[0]
    assert "truncated" in lines[1]
    assert is_stored(pins[0])


def test_a_release_is_verified_once_all_of_its_files_are_there(
    pins: list[Pin], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    complete: list[str] = []

    def verify_and_note(pin: Pin, store: Store) -> None:
        assert all(store.path(record.digest).exists() for record in pin.files.values())
        complete.append(str(pin.module))
        verify_stored(pin, store)

    monkeypatch.setattr(fetching, "verify_stored", verify_and_note)

    assert fetch(pins[:2], [], tmp_path) == frozenset(pins[:2])
    assert sorted(complete) == sorted(str(pin.module) for pin in pins[:2])

    assert fetch(pins, [], tmp_path) == {pins[2]}
    assert complete[2:] == [str(pins[2].module)]


def test_a_release_that_is_not_what_its_pin_says_is_told_by_its_registry(
    pins: list[Pin], tmp_path: Path
) -> None:
    other = msgspec.structs.replace(pins[0], module=ModuleName("digits", "other"))
    (tmp_path / "registry" / "digits" / "one").rename(tmp_path / "registry" / "digits" / "other")

    with pytest.raises(ModpmError, match=r"of `digits/other` 1\.0\.0 is that of another") as caught:
        fetch([other], [], tmp_path)
    assert (caught.value.code, caught.value.where) == (
        "wrong-module",
        f"registry {tmp_path / 'registry'}",
    )

    extra = {**pins[1].files, "LICENSE": pins[1].files["manifest.json"]}
    with pytest.raises(ModpmError) as caught:
        fetch([msgspec.structs.replace(pins[1], files=extra)], [], tmp_path)
    assert caught.value.code == "wrong-size"
    assert caught.value.where == f"digits/two 1.0.0, registry {tmp_path / 'registry'}"


def test_another_registry_helps_out_by_digest_alone(
    pins: list[Pin], make_distribution: MakeDistribution, tmp_path: Path
) -> None:
    other, liar = Address("other", "other"), Address("liar", "liar")
    DirectoryRegistry(tmp_path / "other").publish(
        [make_distribution(name, summary=name, folder=tmp_path / "again") for name in NAMES]
    )
    DirectoryRegistry(tmp_path / "liar").publish(
        [make_distribution(name, summary="other", folder=tmp_path / "lies") for name in NAMES]
    )
    manifest_path(pins[1]).unlink()

    with pytest.raises(ModpmError) as caught:
        fetch(pins, [liar], tmp_path)
    assert caught.value.code == "missing-file"

    fetch(pins, [liar, other], tmp_path)
    assert all(map(is_stored, pins))


def test_files_arrive_at_once_and_are_counted(
    pins: list[Pin], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "SMALL_BYTES", 0)  # of larger files there would be too few
    wanted = {record.digest: record for pin in pins for record in pin.files.values()}
    assert len(wanted) >= N_THREADS_OF_COPYING
    together = threading.Barrier(N_THREADS_OF_COPYING)  # broken, unless so many are open at once
    first = iter(range(N_THREADS_OF_COPYING))
    original = DirectoryRegistry.open_file

    def open_file(self: DirectoryRegistry, file: ReleaseFile, offset: int = 0) -> BinaryIO:
        if next(first, None) is not None:
            together.wait(timeout=30)
        return original(self, file, offset)

    monkeypatch.setattr(DirectoryRegistry, "open_file", open_file)
    told: list[tuple[int, int]] = []
    fetch(pins, [], tmp_path, progress=lambda n_bytes, total: told.append((n_bytes, total)))

    total = sum(record.size_bytes for record in wanted.values())
    assert told[-1] == (total, total)
    assert told == sorted(told)


def test_a_file_that_releases_have_in_common_is_fetched_and_kept_once(
    make_distribution: MakeDistribution, address: Address, tmp_path: Path
) -> None:
    pins = []
    for name in NAMES[:2]:
        again = in_two_files(make_distribution(name))
        DirectoryRegistry(Path(address.url)).publish([again])
        pins.append(pin_of(again, address))
    told: list[tuple[int, int]] = []
    fetch(pins[:1], [], tmp_path)

    fetch(pins[1:], [], tmp_path, progress=lambda n_bytes, total: told.append((n_bytes, total)))

    own = {name: pins[1].files[name] for name in pins[1].files.keys() - {"shared.safetensors"}}
    new = {one.digest: one.size_bytes for one in own.values()}
    for one in pins[0].files.values():
        new.pop(one.digest, None)
    assert told[-1] == (sum(new.values()), sum(new.values()))
    assert all(map(is_stored, pins))


def test_an_interruption_ends_all_downloads(
    pins: list[Pin], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def blocks() -> Iterator[bytes]:
        yield from [b"x"] * 1000
        pytest.fail("the download went on")

    class Endless:
        def __init__(self) -> None:
            self._blocks = blocks()

        def read(self, _size: int) -> bytes:
            return next(self._blocks)

        def __enter__(self) -> Self:
            return self

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setattr(DirectoryRegistry, "open_file", lambda *_, **__: Endless())

    def interrupt(n_bytes: int, _total: int) -> None:
        if n_bytes > 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(pins, [], tmp_path, progress=interrupt)
