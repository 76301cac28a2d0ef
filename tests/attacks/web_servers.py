"""Servers that answer as a test says, and remember what they were sent."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Asked(NamedTuple):
    """A request."""

    method: str
    path: str
    host: str
    authorization: str | None
    cookie: str | None
    content: bytes


Answer = tuple[int, list[tuple[str, str]], bytes]


class WebServer:
    """A server on loopback.

    Args:
        answer: What it answers to a request: status, headers and content.
    """

    def __init__(self, answer: Callable[[Asked], Answer]) -> None:
        self.asked: list[Asked] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1
            disable_nagle_algorithm = True

            def do_any(self) -> None:
                content = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                headers = self.headers
                sent = (headers["Host"], headers["Authorization"], headers["Cookie"], content)
                asked = Asked(self.command, self.path, *sent)
                outer.asked.append(asked)
                status, more, body = answer(asked)
                self.send_response(status)
                for name, text in [*more, ("Content-Length", str(len(body)))]:
                    self.send_header(name, text)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            do_GET = do_HEAD = do_POST = do_PUT = do_any  # noqa: N815 -- the base's

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def serving(answer: Callable[[Asked], Answer]) -> Iterator[WebServer]:
    """Run a server for as long as the block lasts."""
    server = WebServer(answer)
    try:
        yield server
    finally:
        server.stop()
