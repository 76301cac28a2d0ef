"""One file, from sources that cut connections, lie and come to an end."""

from __future__ import annotations

import errno
import io
import os
from typing import TYPE_CHECKING, BinaryIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modpm.core.errors import ModpmError
from modpm.core.formats.digest import digest_bytes
from modpm.core.formats.manifest import FileRecord
from modpm.registry.storage import downloading
from modpm.registry.storage.downloading import N_RESUMES, Source, download

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from typing_extensions import Buffer

CONTENT = bytes(range(256)) * 20
RECORD = FileRecord(size_bytes=len(CONTENT), digest=digest_bytes(CONTENT))


class Cut(io.BytesIO):
    """A stream whose connection is cut after its bytes."""

    def __init__(self, content: bytes, error: Exception) -> None:
        super().__init__(content)
        self._error = error

    def readinto1(self, buffer: Buffer) -> int:
        n_bytes = super().readinto1(buffer)
        if n_bytes == 0:
            raise self._error
        return n_bytes


class Registry:
    """Gives at each opening so many bytes as it is told, and then cuts the connection.

    Without anything left to tell, it gives all bytes.
    """

    def __init__(
        self,
        content: bytes = CONTENT,
        lengths: Sequence[int] = (),
        error: Exception | None = None,
    ) -> None:
        self.content = content
        self.offsets: list[int] = []
        self._lengths = list(lengths)
        self._error = error or ConnectionResetError(errno.ECONNRESET, "reset by peer")

    def open(self, offset: int) -> BinaryIO:
        self.offsets.append(offset)
        if not self._lengths:
            return io.BytesIO(self.content[offset:])
        return Cut(self.content[offset : offset + self._lengths.pop(0)], self._error)

    @property
    def source(self) -> Source:
        return Source("the registry", self.open)


@pytest.fixture(autouse=True)
def without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloading, "_PAUSE_SECONDS", 0.0)


@pytest.fixture
def part(tmp_path: Path) -> Path:
    return tmp_path / "digits.part"


def get(part: Path, *registries: Registry) -> list[int]:
    """Download, and return the counts of bytes that were told."""
    told: list[int] = []
    download(part, RECORD, [registry.source for registry in registries], told.append)
    return told


def refused(part: Path, *registries: Registry) -> ModpmError:
    with pytest.raises(ModpmError) as caught:
        get(part, *registries)
    return caught.value


@pytest.mark.parametrize("n", [0, 1, 1000, len(CONTENT) - 1])
def test_what_is_there_is_continued(part: Path, n: int) -> None:
    part.write_bytes(CONTENT[:n])
    registry = Registry()

    told = get(part, registry)

    assert part.read_bytes() == CONTENT
    assert registry.offsets == [n]
    assert sum(told) == len(CONTENT)


def test_a_complete_partial_file_asks_nobody(part: Path) -> None:
    part.write_bytes(CONTENT)
    registry = Registry()

    get(part, registry)

    assert registry.offsets == []


@pytest.mark.parametrize(
    "present", [b"?" * 100, CONTENT[:99] + b"?", b"?" * len(CONTENT), CONTENT + b"more"]
)
def test_a_damaged_partial_file_is_begun_again(part: Path, present: bytes) -> None:
    part.write_bytes(present)
    registry = Registry()

    told = get(part, registry)

    assert part.read_bytes() == CONTENT
    assert registry.offsets[-1] == 0
    assert sum(told) == len(CONTENT)


@given(lengths=st.lists(st.integers(1, 1000), max_size=N_RESUMES))
def test_a_cut_connection_is_resumed_where_it_ended(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int]
) -> None:
    registry = Registry(lengths=lengths)
    part = tmp_path_factory.mktemp("resumed") / "digits.part"

    get(part, registry)

    assert part.read_bytes() == CONTENT
    assert registry.offsets == [sum(lengths[:i]) for i in range(len(lengths) + 1)]


CUTS = [
    ConnectionResetError(errno.ECONNRESET, "reset by peer"),
    TimeoutError("timed out"),
    ModpmError("reset by peer", code="network-failed"),
]


@pytest.mark.parametrize("error", CUTS, ids=repr)
def test_a_connection_that_is_cut_again_and_again_is_a_truncation(
    part: Path, error: Exception
) -> None:
    registry = Registry(lengths=[100] * 20, error=error)

    caught = refused(part, registry)

    assert caught.code == "truncated"
    assert caught.where == "the registry"
    assert caught.why is not None
    assert str(error) in caught.why
    assert len(registry.offsets) == N_RESUMES + 1
    assert part.read_bytes() == CONTENT[: 100 * (N_RESUMES + 1)]


def test_the_next_command_continues_a_truncated_download(part: Path) -> None:
    refused(part, Registry(lengths=[100] * 20))
    n = part.stat().st_size
    registry = Registry()

    get(part, registry)

    assert registry.offsets == [n]
    assert part.read_bytes() == CONTENT


def test_a_download_that_gets_on_may_be_cut_more_often(
    part: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloading, "_MUCH_BYTES", 50)
    registry = Registry(lengths=[50] * 100)

    get(part, registry)

    assert part.read_bytes() == CONTENT
    assert len(registry.offsets) == 101


def test_a_file_that_just_ends_is_not_asked_for_again_and_again(part: Path) -> None:
    registry = Registry(CONTENT[:-1])

    assert refused(part, registry).code == "truncated"
    assert registry.offsets == [0, len(CONTENT) - 1]


def test_an_error_that_is_no_cut_is_passed_on(part: Path) -> None:
    registry = Registry(lengths=[10], error=ModpmError("no", code="not-authorized"))

    assert refused(part, registry).code == "not-authorized"
    assert registry.offsets == [0]


@pytest.mark.parametrize("content", [b"?" * len(CONTENT), CONTENT + b"?"])
def test_wrong_bytes_are_thrown_away(part: Path, content: bytes) -> None:
    assert refused(part, Registry(content)).code == "wrong-digest"
    assert not part.exists()


def test_cut_and_wrong_bytes_are_a_wrong_digest(part: Path) -> None:
    assert refused(part, Registry(b"?" * len(CONTENT), [10])).code == "wrong-digest"
    assert not part.exists()


def test_another_source_helps_out(part: Path) -> None:
    liar, cut, good = Registry(b"?" * len(CONTENT)), Registry(CONTENT[:7]), Registry()

    get(part, liar, cut, good)

    assert part.read_bytes() == CONTENT
    assert good.offsets == [7]


def test_bytes_of_a_liar_do_not_spoil_those_of_another_source(part: Path) -> None:
    liar, good = Registry(b"?" * 7), Registry()

    get(part, liar, good)

    assert part.read_bytes() == CONTENT
    assert good.offsets == [7, 0]


def test_where_none_helps_the_first_is_blamed(part: Path) -> None:
    liar, cut = Registry(b"?" * len(CONTENT)), Registry(b"")

    assert refused(part, liar, cut).code == "wrong-digest"
    assert refused(part, cut, liar).code == "truncated"


def test_a_full_disk_keeps_nothing(part: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        get(part, Registry())

    assert not part.exists()
