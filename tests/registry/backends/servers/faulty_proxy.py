"""A proxy on loopback that passes requests on, and spoils the answers it is told to."""

from __future__ import annotations

import http.client
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, ClassVar, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

_OF_ONE_CONNECTION = {"connection", "expect", "keep-alive", "transfer-encoding", "content-length"}
MAX_HANG_SECONDS = 30.0


@dataclass
class Fault:
    """What is done to answers.

    Attributes:
        what: `status` answers instead of the server, `hang` never answers, `lose` asks the
            server and hangs up without its answer, `cut` hangs up in the middle of the body,
            `stall` stops there and does not hang up, `lie` changes a byte of it.
        n_passed: So many are passed on first.
        n_times: To so many of them; None for all.
        lasts_seconds: For so long, from the first of them on; None for ever.
        size_bytes: Only to those whose body has this size; None for any.
        status: For `status`.
        headers: For `status`.
    """

    what: Literal["status", "hang", "lose", "cut", "stall", "lie"]
    n_passed: int = 0
    n_times: int | None = None
    lasts_seconds: float | None = None
    size_bytes: int | None = None
    status: int = 500
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Answer:
    status: int
    headers: list[tuple[str, str]]
    body: bytes


class FaultyProxy:
    """A proxy in front of one server; it stands for it, on another port.

    Args:
        port: Of the server, on 127.0.0.1.
    """

    def __init__(self, port: int) -> None:
        self._upstream = port
        self._fault: Fault | None = None
        self._first_taken: float | None = None
        self._lock = threading.Lock()
        self._is_stopping = threading.Event()
        self.n_requests = 0
        handler = type("Handler", (_Handler,), {"proxy": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self.port = int(self._server.server_address[1])

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._is_stopping.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def inflict(self, fault: Fault | None) -> None:
        """Spoil what is answered from now on; None for nothing."""
        with self._lock:
            self._fault = fault
            self._first_taken = None
            self.n_requests = 0

    def wait_to_stop(self) -> None:
        """Do nothing until the test is over."""
        self._is_stopping.wait(MAX_HANG_SECONDS)

    def fault_before(self) -> Fault | None:
        """Return what is to be done instead of asking the server."""
        with self._lock:
            self.n_requests += 1
            if self._fault is not None and self._fault.what in {"status", "hang"}:
                return self._taken()
            return None

    def fault_after(self, body: bytes) -> Fault | None:
        """Return what is to be done to the server's answer."""
        with self._lock:
            if self._fault is None or self._fault.what in {"status", "hang"}:
                return None
            if not body and self._fault.what != "lose":
                return None
            is_meant = self._fault.size_bytes in {None, len(body)}
            return self._taken() if is_meant else None

    def ask(self, method: str, path: str, headers: list[tuple[str, str]], body: bytes) -> _Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self._upstream, timeout=60)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in headers:
                if name.lower() not in _OF_ONE_CONNECTION:
                    connection.putheader(name, value)
            if body or method in {"POST", "PUT", "PATCH"}:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body or None)
            answer = connection.getresponse()
            return _Answer(answer.status, answer.getheaders(), answer.read())
        finally:
            connection.close()

    def _taken(self) -> Fault | None:
        fault = self._fault
        assert fault is not None
        if fault.n_passed > 0:
            fault.n_passed -= 1
            return None
        if fault.lasts_seconds is not None and not self._lasts(fault.lasts_seconds):
            return None
        if fault.n_times is None:
            return fault
        if fault.n_times == 0:
            return None
        fault.n_times -= 1
        return fault

    def _lasts(self, seconds: float) -> bool:
        now = time.monotonic()
        if self._first_taken is None:
            self._first_taken = now
        return now - self._first_taken < seconds


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True
    proxy: ClassVar[FaultyProxy]

    def do_any(self) -> None:
        body = self._request_body()
        fault = self.proxy.fault_before()
        if fault is not None and fault.what == "hang":
            self.proxy.wait_to_stop()
            self.close_connection = True
        elif fault is not None:
            self._send(_Answer(fault.status, list(fault.headers.items()), b"no"))
        else:
            answer = self.proxy.ask(self.command, self.path, self.headers.items(), body)
            self._spoil(answer, self.proxy.fault_after(answer.body))

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_any  # noqa: N815 - its names

    def _spoil(self, answer: _Answer, fault: Fault | None) -> None:
        if fault is None:
            self._send(answer)
        elif fault.what == "lie":
            middle = len(answer.body) // 2
            other = bytes([answer.body[middle] ^ 1])
            body = answer.body[:middle] + other + answer.body[middle + 1 :]
            self._send(_Answer(answer.status, answer.headers, body))
        elif fault.what == "lose":
            self.close_connection = True
        else:
            self._send(answer, n_bytes=len(answer.body) // 2)
            self.close_connection = True
            if fault.what == "stall":
                self.proxy.wait_to_stop()

    def _send(self, answer: _Answer, n_bytes: int | None = None) -> None:
        self.send_response_only(answer.status)
        size = str(len(answer.body))
        for name, value in answer.headers:
            if name.lower() not in _OF_ONE_CONNECTION:
                self.send_header(name, value)
            elif name.lower() == "content-length" and self.command == "HEAD":
                size = value
        self.send_header("Content-Length", size)
        self.end_headers()
        self.wfile.write(answer.body[:n_bytes])
        self.wfile.flush()

    def _request_body(self) -> bytes:
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            return self._chunks()
        return self.rfile.read(int(self.headers.get("Content-Length", "0")))

    def _chunks(self) -> bytes:
        body = bytearray()
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return bytes(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # clients hang up as they like
