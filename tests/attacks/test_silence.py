"""Nobody is waited for in vain: not a slow server, not a dead one, not twice."""

from __future__ import annotations

import shutil
import socket
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from tests.registry.backends.servers.faulty_proxy import Fault, FaultyProxy
from tests.registry.backends.servers.static_files import StaticFiles

from modpm.cli.main import main
from modpm.core.errors import ModpmError
from modpm.core.formats.distribution import read_distribution
from modpm.core.formats.names import ModuleName
from modpm.core.system import waiting
from modpm.core.system.threads import in_threads
from modpm.registry.backends import retrying, streaming
from modpm.registry.backends.opening import open_backend
from modpm.registry.backends.protocol import ReleaseFile
from modpm.registry.installing.installation import install, sync
from modpm.registry.publication.publishing import publish

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SEVEN = ModuleName("digits", "7")
HEADERS = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"
NAMES = [ModuleName("digits", f"n{n}") for n in range(40)]


class Listener:
    """Takes connections and sends what it is told, a byte at a time.

    Args:
        at_once: What is sent at once.
        slowly: What is sent byte by byte, again and again.
    """

    def __init__(self, at_once: bytes, slowly: bytes) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._sent = (at_once, slowly)
        self._is_over = threading.Event()
        self.n_connections = 0
        self.port = int(self._socket.getsockname()[1])
        threading.Thread(target=self._take, daemon=True).start()

    def stop(self) -> None:
        self._is_over.set()
        self._socket.close()

    def _take(self) -> None:
        while not self._is_over.is_set():
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.n_connections += 1
            threading.Thread(target=self._send, args=(connection,), daemon=True).start()

    def _send(self, connection: socket.socket) -> None:
        at_once, slowly = self._sent
        with connection:
            try:
                connection.recv(65536)
                connection.sendall(at_once)
                while not self._is_over.wait(0.02):
                    connection.sendall(slowly)
            except OSError:
                return


@contextmanager
def listening(at_once: bytes = b"", slowly: bytes = b"") -> Iterator[Listener]:
    listener = Listener(at_once, slowly)
    try:
        yield listener
    finally:
        listener.stop()


@pytest.fixture(autouse=True)
def in_haste(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(retrying, "TIMEOUT_SECONDS", 0.3)
    monkeypatch.setattr(streaming, "LOW_SPEED_SECONDS", 0.5, raising=False)
    monkeypatch.setattr(retrying, "PAUSES_SECONDS", (0.01, 0.02, 0.03))
    yield
    waiting.listen(None)


@pytest.mark.parametrize(
    ("at_once", "slowly"),
    [(HEADERS, b"x"), (HEADERS[:-2], b"x"), (HEADERS[:-2] + b"X-Long: ", b"y")],
    ids=["content", "headers", "one header"],
)
@pytest.mark.parametrize("scheme", ["http", "oci", "hf"])
def test_a_server_that_sends_next_to_nothing_is_given_up(
    scheme: str, at_once: bytes, slowly: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    with listening(at_once, slowly) as server:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.port}")
        location = "hf://acme" if scheme == "hf" else f"{scheme}://127.0.0.1:{server.port}/r"
        start = time.monotonic()
        with pytest.raises(ModpmError) as caught:
            open_backend(location).index(SEVEN)

    assert caught.value.code == "network-failed"
    assert time.monotonic() - start < 8


def test_a_file_that_comes_too_slowly_is_cut(repository: Path, tmp_path: Path) -> None:
    publish([repository / "specs" / "vectors" / "distribution" / "digits-7"], tmp_path / "r")
    with listening(HEADERS, b"x") as server:
        registry = open_backend(f"http://127.0.0.1:{server.port}")
        file = registry.open_file(ReleaseFile(SEVEN, "1.0.0", "manifest.json"))
        with file, pytest.raises(ModpmError) as caught:
            file.read()
    assert caught.value.code == "truncated"


def test_a_dead_host_costs_one_budget_however_much_is_asked_of_it() -> None:
    n_attempts = len(retrying.PAUSES_SECONDS) + 1
    with listening() as server:
        registry = open_backend(f"http://127.0.0.1:{server.port}")
        for name in NAMES:
            with pytest.raises(ModpmError):
                registry.index(name)
    assert server.n_connections == n_attempts


def test_threads_that_wait_for_a_dead_host_give_up_together() -> None:
    n_attempts = len(retrying.PAUSES_SECONDS) + 1
    with listening() as server:
        registry = open_backend(f"http://127.0.0.1:{server.port}")
        with pytest.raises(ModpmError) as caught:
            in_threads(registry.index, NAMES, "indexes cannot be read")
    assert caught.value.code == "network-failed"
    assert server.n_connections <= 8 * n_attempts


def test_a_host_that_fails_is_asked_once_each_until_it_answers(tmp_path: Path) -> None:
    (tmp_path / "registry.json").write_text('{"format_version":1}')
    with served(tmp_path) as proxy:
        registry = open_backend(f"http://127.0.0.1:{proxy.port}")
        proxy.inflict(Fault("status", status=503))
        for name in NAMES:
            with pytest.raises(ModpmError):
                registry.index(name)
        assert proxy.n_requests == len(NAMES) + len(retrying.PAUSES_SECONDS)

        proxy.inflict(None)
        assert registry.index(SEVEN) is None
        proxy.inflict(Fault("status", status=503, n_times=2))
        assert registry.index(SEVEN) is None


@contextmanager
def served(folder: Path) -> Iterator[FaultyProxy]:
    server = StaticFiles(folder)
    server.start()
    proxy = FaultyProxy(server.port)
    proxy.start()
    try:
        yield proxy
    finally:
        proxy.stop()
        server.stop()


@pytest.mark.parametrize(
    "fault", [Fault("hang"), Fault("status", status=503), Fault("stall")], ids=lambda f: str(f.what)
)
def test_another_registry_is_asked_at_once_for_what_a_dead_one_has(
    tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch, fault: Fault
) -> None:
    golden = repository / "specs" / "vectors" / "distribution" / "digits-7"
    publish([golden], tmp_path / "r")
    project = tmp_path / "project"
    project.mkdir()
    monkeypatch.setenv("MODPM_HOME", str(tmp_path / "home"))
    with served(tmp_path / "r") as proxy:
        monkeypatch.setattr(retrying, "TIMEOUT_SECONDS", 20.0)
        install(["digits/7"], project, f"http://127.0.0.1:{proxy.port}")
        for place in (project / ".modpm", tmp_path / "home"):
            shutil.rmtree(place)
        monkeypatch.setattr(retrying, "TIMEOUT_SECONDS", 0.5)
        proxy.inflict(fault)

        start = time.monotonic()
        sync(project, [tmp_path / "r"])
        assert time.monotonic() - start < 4 * retrying.TIMEOUT_SECONDS

        n_files = len(read_distribution(golden).manifest.files) + 1
        assert proxy.n_requests <= n_files + len(retrying.PAUSES_SECONDS) + 1
    assert (project / ".modpm").is_dir()


def test_who_is_waited_for_is_said_after_two_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert waiting.PATIENCE_SECONDS == 2
    monkeypatch.setattr(waiting, "PATIENCE_SECONDS", 0.2)
    monkeypatch.setenv("MODPM_HOME", str(tmp_path / "home"))
    with listening() as server:
        url = f"http://127.0.0.1:{server.port}"
        main(["install", "a/b", "--registry", url, "--project", str(tmp_path)])
        assert capsys.readouterr().err.count(f"waiting for {url}\n") == 1

        main(["install", "a/b", "--registry", url, "--project", str(tmp_path), "--quiet"])
        assert "waiting" not in capsys.readouterr().err


def test_nothing_is_said_of_a_server_that_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MODPM_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(retrying, "TIMEOUT_SECONDS", 20.0)
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "registry.json").write_text('{"format_version":1}')
    with served(tmp_path / "r") as proxy:
        url = f"http://127.0.0.1:{proxy.port}"
        assert main(["install", "a/b", "--registry", url, "--project", str(tmp_path)]) == 1
    assert "waiting" not in capsys.readouterr().err


def test_a_file_that_is_waited_for_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "PATIENCE_SECONDS", 0.1)
    told: list[str] = []
    with listening(HEADERS) as server:
        url = f"http://127.0.0.1:{server.port}"
        waiting.listen(told.append)
        file = open_backend(url).open_file(ReleaseFile(SEVEN, "1.0.0", "manifest.json"))
        with file, pytest.raises(ModpmError):
            file.read()
    # A busy machine may have been slow to open it, too, which is said before.
    assert told[-1] == f"waiting for {url}/digits/7/1.0.0/manifest.json"
