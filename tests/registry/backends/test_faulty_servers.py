"""What every kind of registry behind a server does when the server, or the way to it, fails."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from tests.registry.backends.servers.faulty_proxy import Fault, FaultyProxy
from tests.registry.backends.servers.ports import free_ports

from modpm.core.errors import ModpmError
from modpm.core.formats.names import ModuleName
from modpm.registry.backends import retrying
from modpm.registry.backends.protocol import ReleaseFile
from modpm.registry.storage.transfer import receive

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.registry.backends.kinds.kind import Kind
    from tests.registry.conftest import MakeDistribution

    from modpm.core.formats.distribution import Distribution
    from modpm.registry.backends.protocol import Backend

CAT = ModuleName("digits", "cat")
FILE = "module.safetensors"
TIMEOUT_SECONDS = 0.4
PATIENCE_SECONDS = retrying.TIMEOUT_SECONDS
MAX_ATTEMPTS_SECONDS = 10.0  # several requests, each some times as long as the timeout


@pytest.fixture(autouse=True)
def in_haste(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrying, "TIMEOUT_SECONDS", TIMEOUT_SECONDS)
    monkeypatch.setattr(retrying, "PAUSES_SECONDS", (0.01, 0.02, 0.04))


def _proxy_of(kind: Kind) -> Iterator[FaultyProxy]:
    proxy = FaultyProxy(kind.port)
    proxy.start()
    yield proxy
    proxy.stop()


@pytest.fixture
def proxy(served: Kind) -> Iterator[FaultyProxy]:
    yield from _proxy_of(served)


@pytest.fixture
def cat(make_distribution: MakeDistribution) -> Distribution:
    return make_distribution("digits/cat")


@pytest.fixture
def reader(served: Kind, proxy: FaultyProxy, cat: Distribution) -> Backend:
    with pytest.MonkeyPatch.context() as patch:
        # The haste is for faults; a server on a busy machine may take its time to write.
        patch.setattr(retrying, "TIMEOUT_SECONDS", PATIENCE_SECONDS)
        served.writer().publish([cat])
    return served.access(proxy.port).open()


def read(reader: Backend, cat: Distribution) -> bytes:
    with reader.open_file(ReleaseFile(CAT, "1.0.0", FILE, reader.revision(CAT, "1.0.0"))) as file:
        return receive(file, cat.manifest.files[FILE], FILE)


def error_of(work: Callable[[], object]) -> ModpmError:
    with pytest.raises(ModpmError) as caught:
        work()
    return caught.value


@pytest.mark.parametrize("status", [500, 503])
def test_a_failure_that_passes_is_not_seen(
    reader: Backend, proxy: FaultyProxy, cat: Distribution, status: int
) -> None:
    proxy.inflict(Fault("status", n_times=2, status=status))
    assert reader.index(CAT) is not None

    proxy.inflict(Fault("status", n_times=2, status=status))
    assert read(reader, cat) == (cat.folder / FILE).read_bytes()


def test_a_failure_that_stays_is_told_after_a_few_attempts(
    reader: Backend, proxy: FaultyProxy
) -> None:
    proxy.inflict(Fault("status", status=503))

    error = error_of(lambda: reader.index(CAT))

    assert error.code == "network-failed"
    assert "503" in str(error)
    assert 1 < proxy.n_requests <= 8


def test_a_server_that_says_when_to_return_is_obeyed(reader: Backend, proxy: FaultyProxy) -> None:
    too_many = Fault("status", status=429, headers={"Retry-After": "1"}, lasts_seconds=1)
    proxy.inflict(too_many)
    start = time.monotonic()

    # Without it, a tenth of that time would be waited for.
    assert reader.index(CAT) is not None
    assert 1 <= time.monotonic() - start < MAX_ATTEMPTS_SECONDS


def test_a_server_that_wants_to_be_left_alone_is(reader: Backend, proxy: FaultyProxy) -> None:
    proxy.inflict(Fault("status", status=429, headers={"Retry-After": "3600"}))
    start = time.monotonic()

    error = error_of(lambda: reader.index(CAT))

    assert error.code == "rate-limited"
    assert "3600 seconds" in str(error.why)
    assert proxy.n_requests <= 2
    assert time.monotonic() - start < MAX_ATTEMPTS_SECONDS


def test_a_server_that_does_not_say_when_to_return_is_asked_a_few_times(
    reader: Backend, proxy: FaultyProxy
) -> None:
    proxy.inflict(Fault("status", status=429))

    assert error_of(lambda: reader.index(CAT)).code == "rate-limited"
    assert 1 < proxy.n_requests <= 8


def test_a_file_that_is_cut_is_truncated(
    reader: Backend, proxy: FaultyProxy, cat: Distribution
) -> None:
    proxy.inflict(Fault("cut", size_bytes=cat.manifest.files[FILE].size_bytes))

    assert error_of(lambda: read(reader, cat)).code == "truncated"


def test_a_file_that_was_cut_is_continued(
    reader: Backend, proxy: FaultyProxy, cat: Distribution
) -> None:
    size_bytes = cat.manifest.files[FILE].size_bytes
    revision = reader.revision(CAT, "1.0.0")
    proxy.inflict(Fault("cut", n_times=1, size_bytes=size_bytes))
    arrived = b""
    with reader.open_file(ReleaseFile(CAT, "1.0.0", FILE, revision)) as file:
        try:
            while byte := file.read(1):
                arrived += byte
        except ModpmError as error:
            assert error.code == "truncated"  # noqa: PT017 - or it just ends
    assert len(arrived) < size_bytes

    with reader.open_file(ReleaseFile(CAT, "1.0.0", FILE, revision), len(arrived)) as file:
        assert arrived + file.read() == (cat.folder / FILE).read_bytes()


def test_an_index_that_is_cut_is_asked_for_again(reader: Backend, proxy: FaultyProxy) -> None:
    proxy.inflict(Fault("cut", n_times=1))

    assert reader.index(CAT) is not None


def test_an_index_that_is_always_cut_is_an_error(reader: Backend, proxy: FaultyProxy) -> None:
    proxy.inflict(Fault("cut"))

    assert error_of(lambda: reader.index(CAT)).code == "network-failed"


def test_a_server_that_lies_about_a_file_is_found_out(
    reader: Backend, proxy: FaultyProxy, cat: Distribution
) -> None:
    proxy.inflict(Fault("lie", size_bytes=cat.manifest.files[FILE].size_bytes))

    assert error_of(lambda: read(reader, cat)).code == "wrong-digest"


def test_a_server_that_does_not_answer_is_left(reader: Backend, proxy: FaultyProxy) -> None:
    proxy.inflict(Fault("hang"))
    start = time.monotonic()

    assert error_of(lambda: reader.index(CAT)).code == "network-failed"
    assert time.monotonic() - start < MAX_ATTEMPTS_SECONDS


def test_a_server_that_stops_in_the_middle_of_a_file_is_left(
    reader: Backend, proxy: FaultyProxy, cat: Distribution
) -> None:
    proxy.inflict(Fault("stall", size_bytes=cat.manifest.files[FILE].size_bytes))
    start = time.monotonic()

    assert error_of(lambda: read(reader, cat)).code in {"truncated", "network-failed"}
    assert time.monotonic() - start < MAX_ATTEMPTS_SECONDS


def test_a_server_that_is_gone_is_an_error(served: Kind) -> None:
    (port,) = free_ports(1)
    backend = served.access(port).open()

    assert error_of(lambda: backend.index(CAT)).code == "network-failed"


@pytest.fixture
def writing_proxy(served_and_writable: Kind) -> Iterator[FaultyProxy]:
    yield from _proxy_of(served_and_writable)


def test_publishing_outlasts_a_failure_that_passes(
    served_and_writable: Kind, writing_proxy: FaultyProxy, cat: Distribution
) -> None:
    writer = served_and_writable.access(writing_proxy.port).open()
    writing_proxy.inflict(Fault("status", n_times=2, status=503))

    (published,) = writer.publish([cat])

    assert published.is_new
    assert served_and_writable.again().index(CAT) is not None


@pytest.mark.parametrize("n_passed", range(12))
def test_publishing_does_not_need_any_one_answer(
    served_and_writable: Kind, writing_proxy: FaultyProxy, cat: Distribution, n_passed: int
) -> None:
    writer = served_and_writable.access(writing_proxy.port).open()
    writing_proxy.inflict(Fault("lose", n_passed=n_passed, n_times=1))

    (published,) = writer.publish([cat])

    assert published.is_new
    index = served_and_writable.again().index(CAT)
    assert index is not None
    assert [release.digest for release in index.releases] == [cat.digest]


def test_publishing_waits_for_as_long_as_it_is_asked_to(
    served_and_writable: Kind, writing_proxy: FaultyProxy, cat: Distribution
) -> None:
    writer = served_and_writable.access(writing_proxy.port).open()
    writing_proxy.inflict(
        Fault("status", n_passed=2, status=429, headers={"Retry-After": "1"}, lasts_seconds=1)
    )

    (published,) = writer.publish([cat])

    assert published.is_new
    assert served_and_writable.again().index(CAT) is not None


def test_publishing_to_a_server_that_fails_leaves_nothing_listed(
    served_and_writable: Kind, writing_proxy: FaultyProxy, make_distribution: MakeDistribution
) -> None:
    served_and_writable.again().publish([make_distribution("digits/dog")])
    writer = served_and_writable.access(writing_proxy.port).open()
    writing_proxy.inflict(Fault("status", n_passed=3, status=500))

    error = error_of(lambda: writer.publish([make_distribution("digits/cat")]))

    assert error.code == "network-failed"
    assert served_and_writable.again().index(CAT) is None
    writing_proxy.inflict(None)
    (published,) = writer.publish([make_distribution("digits/cat")])
    assert published.is_new
