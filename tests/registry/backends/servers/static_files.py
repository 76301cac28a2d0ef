"""A web server for the files of a folder, with byte ranges."""

from __future__ import annotations

import re
import ssl
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from pathlib import Path

_RANGE = re.compile(r"bytes=(\d+)-")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # headers and body in one packet, or each answer waits for the last to arrive
    disable_nagle_algorithm = True
    folder: ClassVar[Path]
    has_ranges: ClassVar[bool]

    def do_GET(self) -> None:
        path = self.folder / unquote(urlsplit(self.path).path).lstrip("/")
        if not path.is_file():
            self._answer(HTTPStatus.NOT_FOUND, b"nothing here", {})
            return
        data = path.read_bytes()
        match = _RANGE.fullmatch(self.headers.get("Range", "")) if self.has_ranges else None
        if match is None:
            self._answer(HTTPStatus.OK, data, {})
            return
        first = int(match[1])
        if first >= len(data):
            self._answer(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, b"", {})
            return
        ranged = {"Content-Range": f"bytes {first}-{len(data) - 1}/{len(data)}"}
        self._answer(HTTPStatus.PARTIAL_CONTENT, data[first:], ranged)

    def _answer(self, status: HTTPStatus, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # clients hang up as they like


class StaticFiles:
    """Serves a folder on 127.0.0.1.

    Args:
        folder: What it serves.
        has_ranges: Whether it sends what a client asks for, or always all of a file.
        certificate: A file with its key and its certificate, to speak TLS.
    """

    def __init__(
        self, folder: Path, *, has_ranges: bool = True, certificate: Path | None = None
    ) -> None:
        handler = type("Handler", (_Handler,), {"folder": folder, "has_ranges": has_ranges})
        self._server = _Server(("127.0.0.1", 0), handler)
        if certificate is not None:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self.port = int(self._server.server_address[1])

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
