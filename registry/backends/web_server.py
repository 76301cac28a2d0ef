"""Files on a web server: small ones read whole, large ones from any byte on.

The server is not trusted with more than its answers: it may send us from http to https and from
host to host, but never to another scheme or back to plain http.
"""

from __future__ import annotations

import re
import weakref
from contextlib import closing
from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote, urljoin, urlsplit

import httpx2

from modpm.core.errors import ModpmError
from modpm.core.formats import canonical_json
from modpm.registry.backends import retrying, streaming

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_MAX_REDIRECTS = 5
_BLOCK_BYTES = 256 * 1024
_ABSENT = {HTTPStatus.NOT_FOUND, HTTPStatus.GONE}
_DENIED = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.PROXY_AUTHENTICATION_REQUIRED}
_FIRST_BYTE = re.compile(r"bytes (\d{1,18})-")
_MAY_LEAD_TO = {"http": {"http", "https"}, "https": {"https"}}


class Body(NamedTuple):
    """The bytes of a file that come in, and what ends the connection."""

    pieces: Iterator[bytes]
    close: Callable[[], None]


class WebServer:
    """What is under an address; proxies are those of the environment.

    Args:
        url: `https://…` or `http://…`, without a slash at the end.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._client = httpx2.Client(
            headers={"User-Agent": "modpm", "Accept-Encoding": "identity"},
            timeout=retrying.TIMEOUT_SECONDS,
            follow_redirects=False,
        )
        weakref.finalize(self, self._client.close)

    def document(self, path: str) -> bytes | None:
        """Return a small file, or enough of it to see that it is too large; None if absent.

        Raises:
            ModpmError: `network-failed`, `rate-limited`, `not-authorised`.
        """

        def ask() -> bytes:
            with closing(self._get(path, {})) as response:
                return self._beginning(response)

        try:
            return retrying.persistently(ask, self._url)
        except FileNotFoundError:
            return None

    def body(self, path: str, offset: int) -> Body:
        """Return the bytes of a file from one on.

        Raises:
            FileNotFoundError: There is no such file.
            ModpmError: As `document`.
        """
        headers = {"Range": f"bytes={offset}-"} if offset > 0 else {}
        response = retrying.persistently(lambda: self._get(path, headers), self._url)
        pieces = self._pieces(response, path)
        if response.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            response.close()
            return Body(iter(()), response.close)
        if offset > 0:
            pieces = streaming.skipped(pieces, offset - self._first_byte(response))
        return Body(pieces, response.close)

    def _get(self, path: str, headers: dict[str, str]) -> httpx2.Response:
        url = f"{self._url}/{quote(path)}"
        for _ in range(_MAX_REDIRECTS + 1):
            response = self._send(url, headers)
            if not response.has_redirect_location:
                return self._accepted(response)
            response.close()
            url = self._next_url(url, response.headers["Location"])
        raise self._refused(f"it sends on more than {_MAX_REDIRECTS} times")

    def _send(self, url: str, headers: dict[str, str]) -> httpx2.Response:
        try:
            return self._client.send(
                self._client.build_request("GET", url, headers=headers), stream=True
            )
        except httpx2.TimeoutException:
            raise retrying.ServerFault("it does not answer in time") from None
        except (httpx2.UnsupportedProtocol, httpx2.InvalidURL):
            raise self._refused("it sends on to what is no address") from None
        except httpx2.TransportError as error:
            if "CERTIFICATE" in str(error):
                raise self._refused(str(error)) from None
            raise retrying.ServerFault("no connection") from None

    def _accepted(self, response: httpx2.Response) -> httpx2.Response:
        status = response.status_code
        if status in {
            HTTPStatus.OK,
            HTTPStatus.PARTIAL_CONTENT,
            HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
        }:
            return response
        response.close()
        if status in _ABSENT:
            raise FileNotFoundError
        if status in _DENIED:
            raise ModpmError(
                "the web server does not let you in",
                code="not-authorised",
                where=self._url,
                why=f"it answers with status {status}",
                hint="registries on web servers are read without credentials",
            )
        fault = retrying.fault_of_status(status, response.headers.get("Retry-After"))
        raise fault or self._refused(f"it answers with status {status}")

    def _next_url(self, url: str, location: str) -> str:
        try:
            target = urljoin(url, location)
            before, after = urlsplit(url).scheme, urlsplit(target).scheme
        except ValueError:
            raise self._refused("it sends on to what is no address") from None
        if after not in _MAY_LEAD_TO[before]:
            raise self._refused(f"it sends on from {before} to {after[:20]}")
        return target

    def _first_byte(self, response: httpx2.Response) -> int:
        """Return the first byte that is sent: a server may send the whole file all the same."""
        if response.status_code == HTTPStatus.OK:
            return 0
        match = _FIRST_BYTE.match(response.headers.get("Content-Range", ""))
        if match is None:
            response.close()
            raise self._refused("it does not say which bytes it sends")
        return int(match[1])

    def _beginning(self, response: httpx2.Response) -> bytes:
        content = bytearray()
        try:
            for piece in response.iter_raw(_BLOCK_BYTES):
                content += piece
                if len(content) > canonical_json.MAX_SIZE_BYTES:
                    break
        except httpx2.TransportError:
            raise retrying.ServerFault("the connection was cut") from None
        return bytes(content)

    def _pieces(self, response: httpx2.Response, path: str) -> Iterator[bytes]:
        try:
            yield from response.iter_raw(_BLOCK_BYTES)
        except httpx2.TransportError:
            raise streaming.cut(f"{self._url}/{path}") from None

    def _refused(self, why: str) -> ModpmError:
        return ModpmError(
            "the registry cannot be read",
            code="network-failed",
            where=self._url,
            why=why,
            hint="check the address, and ask whoever keeps the registry",
        )
