from __future__ import annotations

import io
import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, BinaryIO

import pytest

from modpm.core.errors import ModpmError
from modpm.core.formats.digest import digest_bytes
from modpm.core.formats.manifest import FileRecord
from modpm.registry.storage import store as store_module
from modpm.registry.storage.downloading import Source
from modpm.registry.storage.store import Store, materialise, verified_digest
from modpm.registry.storage.transfer import receive

if TYPE_CHECKING:
    from pathlib import Path

CONTENT = b"tensors" * 1000
RECORD = FileRecord(size_bytes=len(CONTENT), digest=digest_bytes(CONTENT))


class Registry:
    """Bytes to fetch, and from which byte on they were."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.offsets: list[int] = []

    def open(self, offset: int) -> BinaryIO:
        self.offsets.append(offset)
        return io.BytesIO(self.content[offset:])

    @property
    def sources(self) -> list[Source]:
        return [Source("the registry", self.open)]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "blobs")


def files_in(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.rglob("*") if p.is_file() and p.name != ".lock")


def test_what_is_fetched_is_stored_under_its_digest(store: Store, tmp_path: Path) -> None:
    digits = RECORD.digest.removeprefix("sha256:")

    store.fetch(RECORD, Registry(CONTENT).sources)

    path = tmp_path / "blobs" / "sha256" / digits[:2] / digits
    assert path.read_bytes() == CONTENT
    assert store.has(RECORD)
    assert path.stat().st_mode & 0o222 == 0
    assert files_in(tmp_path / "blobs") == [digits]


def test_what_is_stored_is_not_fetched_again(store: Store) -> None:
    registry = Registry(CONTENT)
    for _ in range(3):
        store.fetch(RECORD, registry.sources)

    assert registry.offsets == [0]


def test_fetching_at_once_fetches_once(store: Store) -> None:
    registry = Registry(CONTENT)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: store.fetch(RECORD, registry.sources), range(8)))

    assert registry.offsets == [0]


def test_a_damaged_file_is_noticed_and_fetched_again(store: Store) -> None:
    store.fetch(RECORD, Registry(CONTENT).sources)
    path = store.path(RECORD.digest)
    path.chmod(0o644)
    path.write_bytes(CONTENT[:-1] + b"?")
    assert not store.has(RECORD)

    store.fetch(RECORD, Registry(CONTENT).sources)

    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "truncated"),
        (CONTENT[:-1], "truncated"),
        (CONTENT[:-1] + b"?", "wrong-digest"),
        (CONTENT + b"more", "wrong-digest"),
    ],
)
def test_other_bytes_are_not_stored(
    store: Store, tmp_path: Path, content: bytes, code: str
) -> None:
    with pytest.raises(ModpmError) as caught:
        store.fetch(RECORD, Registry(content).sources)

    assert caught.value.code == code
    assert caught.value.where == "the registry"
    digits = RECORD.digest.removeprefix("sha256:")
    is_kept = 0 < len(content) < len(CONTENT)
    assert files_in(tmp_path / "blobs") == ([f"{digits}.part"] if is_kept else [])
    with pytest.raises(ModpmError) as caught:
        receive(io.BytesIO(content), RECORD, "the registry")
    assert caught.value.code == code


def test_what_was_verified_is_not_read_again(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.fetch(RECORD, Registry(CONTENT).sources)
    monkeypatch.setattr(store_module, "digest_file", lambda _: pytest.fail("it was read again"))

    store.give(RECORD, tmp_path / "given")

    assert verified_digest(tmp_path / "given") == RECORD.digest


@pytest.mark.parametrize("way", ["_hard_link", "copy"])
def test_what_somebody_wrote_to_is_read_again(
    store: Store, tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "_reflink", lambda _source, _target: False)
    if way == "copy":
        monkeypatch.setattr(store_module, "_hard_link", lambda _source, _target: False)
    store.fetch(RECORD, Registry(CONTENT).sources)
    store.give(RECORD, tmp_path / "given")
    before = (tmp_path / "given").stat()
    (tmp_path / "given").chmod(0o644)
    (tmp_path / "given").write_bytes(CONTENT[:-1] + b"?")
    os.utime(tmp_path / "given", ns=(before.st_atime_ns, before.st_mtime_ns))

    assert verified_digest(tmp_path / "given") == digest_bytes(CONTENT[:-1] + b"?")
    assert store.has(RECORD) == (way == "copy")


def test_what_was_damaged_before_it_is_given_is_not_taken_for_verified(
    store: Store, tmp_path: Path
) -> None:
    store.fetch(RECORD, Registry(CONTENT).sources)
    path = store.path(RECORD.digest)
    path.chmod(0o644)
    path.write_bytes(CONTENT[:-1] + b"?")

    store.give(RECORD, tmp_path / "given")

    assert verified_digest(tmp_path / "given") != RECORD.digest


def test_an_endless_source_is_read_no_further_than_it_may(store: Store) -> None:
    class Endless(io.RawIOBase):
        n_read = 0

        def read(self, size: int = -1) -> bytes:
            self.n_read += size
            return b"x" * size

    endless = Endless()
    with pytest.raises(ModpmError):
        store.fetch(RECORD, [Source("here", lambda _offset: endless)])  # type: ignore[arg-type,return-value]  # a stream that never ends

    assert endless.n_read == RECORD.size_bytes + 1


@pytest.mark.parametrize("missing", [[], ["_reflink"], ["_reflink", "_hard_link"]])
def test_a_file_is_given_by_whatever_the_file_system_can(
    tmp_path: Path, missing: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for way in missing:
        monkeypatch.setattr(store_module, way, lambda _source, _target: False)
    source = tmp_path / "source"
    source.write_bytes(CONTENT)
    source.chmod(0o444)

    materialise(source, tmp_path / "target")

    assert (tmp_path / "target").read_bytes() == CONTENT
    assert (tmp_path / "target").stat().st_mode & 0o777 == 0o444
    if len(missing) == 2:
        assert source.stat().st_nlink == 1
