"""Asking servers over HTTP, as every kind of registry does it.

One policy for all: no server is waited for without end, or listened to that sends next to nothing;
none may send us back to plain text or to another scheme; what is secret goes to the origin that it
is for (scheme, host and port), and to no other that this one names. Errors are in our own words:
those of the client library may hold a token or a signed address.
"""

from __future__ import annotations

import io
import json
import re
import weakref
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, BinaryIO, Literal
from urllib.parse import urljoin, urlsplit

import httpcore2
import httpx2

from modpm.core.errors import ModpmError
from modpm.registry.backends import plain_http, retrying, streaming
from modpm.registry.backends.refusals import network_failed
from modpm.registry.backends.retrying import ServerFault, fault_of_status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager

CONNECT_SECONDS = 5.0
"""How long a server may take to be reached at all."""
Led = Literal["anywhere", "here", "nowhere"]
"""Where a server may send a request on to; `here` is its own scheme, host and port."""

_MAX_REDIRECTS = 5
_MAX_REFUSAL_BYTES, _MAX_TOLD = 64 * 1024, 500
_NO_ANSWER = (ValueError, RecursionError, AttributeError, TypeError, ServerFault)
_FIRST_BYTE = re.compile(r"bytes (\d{1,18})-")
_MAY_LEAD_TO = {"http": {"http", "https"}, "https": {"https"}}
_KEEPS_METHOD = {HTTPStatus.TEMPORARY_REDIRECT, HTTPStatus.PERMANENT_REDIRECT}
_RATE_LIMIT = re.compile(r"r\s*=\s*0\s*;\s*t\s*=\s*(\d{1,9})")
_SECRETS = {"authorization", "cookie", "proxy-authorization"}


@dataclass(frozen=True)
class Request:
    """What a server is asked, of something that it may open to send.

    It is led where the server sends it on; its content may be for one server alone.
    """

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes | Callable[[], AbstractContextManager[BinaryIO]] = b""
    led: Led = "anywhere"


class NotEncryptedFault(ServerFault):
    """A server that does not answer in TLS."""


def origin_of(url: str) -> str:
    """Return the scheme, host and port of a URL: who it is that a secret is for."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}".lower()


class Web:
    """Who asks servers for one registry; proxies and certificates are those of the environment."""

    def __init__(self, where: str) -> None:
        self._where = where

    def ask(self, request: Request) -> httpx2.Response:
        """Ask once, and follow where the server sends us; the body is still to be read.

        Raises:
            ServerFault: Asking again may help.
            ModpmError: `network-failed`, or `insecure-http`.
        """
        for _ in range(_MAX_REDIRECTS + 1):
            response = self._hop(request)
            is_read = request.method in {"GET", "HEAD"}
            is_followed = is_read or response.status_code in _KEEPS_METHOD
            if request.led == "nowhere" or not (response.has_redirect_location and is_followed):
                return response
            url, headers = self.next_url(request.url, response.headers["Location"]), request.headers
            if origin_of(request.url) != origin_of(url):
                if request.led == "here":
                    return response
                headers = {name: v for name, v in headers.items() if name.lower() not in _SECRETS}
            response.close()
            request = replace(request, url=url, headers=headers)
        raise self.refused(f"it sends on more than {_MAX_REDIRECTS} times")

    def next_url(self, url: str, location: str) -> str:
        """Return where a server sends us, if it may.

        Raises:
            ModpmError: `network-failed`.
        """
        try:
            target = urljoin(url, location)
            before, after = urlsplit(url).scheme, urlsplit(target).scheme
        except ValueError:
            raise self.refused("it sends on to what is no address") from None
        if after not in _MAY_LEAD_TO[before]:
            raise self.refused(f"it sends on from {before} to {after[:20]}")
        return target

    def read(self, response: httpx2.Response, limit: int) -> bytes:
        """Return what a response holds, or the beginning of it if that is more than the limit.

        Raises:
            ServerFault: It ended early.
        """
        content = bytearray()
        with closing(response):
            try:
                for piece in response.iter_raw():
                    content += piece
                    if len(content) > limit:
                        break
            except httpx2.TransportError as error:
                fault = _cut(error, response)
            else:
                return bytes(content[: limit + 1])
        raise fault

    def told(self, response: httpx2.Response, secret: str | None = None) -> str:
        """Return what a server says of a refusal, on one line, without a secret it was told."""
        said = response.headers.get("X-Error-Message", "")
        with closing(response), suppress(*_NO_ANSWER):
            answer = json.loads(self.read(response, _MAX_REFUSAL_BYTES))
            errors = answer.get("errors") or [{"message": answer.get("error", "")}]
            texts = [str(error.get("message") or error.get("code", "")) for error in errors]
            said = said or "; ".join(texts)
        said = " ".join(said.split()).replace(secret or "\n", "(your token)")
        said = "".join(c for c in said if c.isprintable())[:_MAX_TOLD]
        status = f"it answers with status {response.status_code}"
        return f"{status}: {said}" if said else status

    def opened(self, response: httpx2.Response, offset: int, where: str) -> BinaryIO:
        """Return what a response holds as a file, from the byte on that was asked for.

        A server that was asked for a range may send the whole all the same.

        Raises:
            ModpmError: `network-failed`. Reading raises it too, or `truncated`.
        """
        if response.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            response.close()
            return io.BytesIO()  # what was asked for begins after the last byte
        n_skipped = offset - self._first_byte(response) if offset else 0
        pieces = streaming.skipped(self._pieces(response, where), n_skipped)
        return streaming.opened(pieces, where, response.close)

    def refused(self, why: str) -> ModpmError:
        """Return the error of a server that asking again does not help with."""
        hint = "check the address, and ask whoever keeps the registry"
        return network_failed("the registry cannot be read", self._where, why, hint)

    def _hop(self, request: Request) -> httpx2.Response:
        plain_http.check(request.url)
        origin, content = origin_of(request.url), request.content
        retrying.check_host(origin)
        with ExitStack() as stack:
            body = stack.enter_context(content()) if callable(content) else content
            try:
                built = self._client.build_request(
                    request.method, request.url, headers=request.headers, content=body
                )
                response = self._client.send(built, stream=True)
            except (httpx2.UnsupportedProtocol, httpx2.LocalProtocolError, httpx2.InvalidURL):
                failure: Exception = self.refused("it sends on to what is no address")
            except httpx2.TransportError as error:
                failure = self._failure(error, origin)
            else:
                fault = fault_of_status(response.status_code, _return_of(response), origin)
                if fault is None:
                    retrying.host_answers(origin)
                    return response
                response.close()
                failure = fault
        raise failure

    def _failure(self, error: httpx2.TransportError, origin: str) -> Exception:
        text = str(error)
        if "CERTIFICATE" in text:
            return self.refused(f"its certificate is not accepted: {text}")
        if "[SSL" in text:
            return NotEncryptedFault("it does not encrypt, as https asks for", origin)
        if isinstance(error, httpx2.TimeoutException):
            return ServerFault("it does not answer in time", origin, is_unreachable=True)
        is_lost = isinstance(error, httpx2.ConnectError | httpx2.ProxyError)
        return ServerFault(
            f"no connection ({type(error).__name__})", origin, is_unreachable=is_lost
        )

    # A method, so that whoever reads keeps the connections from being closed.
    def _pieces(self, response: httpx2.Response, where: str) -> Iterator[bytes]:
        try:
            yield from response.iter_raw()
        except httpx2.TransportError as error:
            fault = _cut(error, response)
        else:
            return
        retrying.suspect(fault)
        raise streaming.cut(where, fault.why)

    def _first_byte(self, response: httpx2.Response) -> int:
        if response.status_code == HTTPStatus.OK:
            return 0
        match = _FIRST_BYTE.match(response.headers.get("Content-Range", ""))
        if match is None:
            response.close()
            raise self.refused("it does not say which bytes it sends")
        return int(match[1])

    @cached_property
    def _client(self) -> httpx2.Client:
        seconds = retrying.TIMEOUT_SECONDS
        try:
            client = httpx2.Client(
                headers={"User-Agent": "modpm", "Accept-Encoding": "identity"},
                timeout=httpx2.Timeout(seconds, connect=min(CONNECT_SECONDS, seconds), pool=None),
                follow_redirects=False,
            )
        except (ImportError, ValueError, OSError, httpx2.InvalidURL) as error:
            raise _bad_settings(error) from None
        for transport in (client._transport, *client._mounts.values()):  # noqa: SLF001 -- there is no other way to the bytes as they come
            if isinstance(transport, httpx2.HTTPTransport):
                pool = transport._pool  # noqa: SLF001 -- as above
                pool._network_backend = _PacedBackend(pool._network_backend)  # noqa: SLF001 -- as above
        weakref.finalize(self, client.close)
        return client


class _PacedBackend(httpcore2.NetworkBackend):
    """Opens connections on which a server cannot be endlessly slow."""

    def __init__(self, backend: httpcore2.NetworkBackend) -> None:
        self._backend = backend

    # What the library passes on is its own business.
    def connect_tcp(self, *args: Any, **options: Any) -> httpcore2.NetworkStream:  # noqa: ANN401 -- passed on
        return _PacedStream(self._backend.connect_tcp(*args, **options))


class _PacedStream(httpcore2.NetworkStream):
    """A connection that counts as timed out when next to nothing comes for too long."""

    def __init__(self, stream: httpcore2.NetworkStream) -> None:
        self._stream = stream
        self._pace = streaming.Pace()

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        data, is_kept = self._pace.is_kept(lambda: self._stream.read(max_bytes, timeout))
        if not is_kept:
            raise httpcore2.ReadTimeout
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, timeout)
        self._pace.restart()

    def close(self) -> None:
        self._stream.close()

    def start_tls(self, *args: Any, **options: Any) -> httpcore2.NetworkStream:  # noqa: ANN401 -- passed on
        return _PacedStream(self._stream.start_tls(*args, **options))

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401 -- the base's
        return self._stream.get_extra_info(info)


def _return_of(response: httpx2.Response) -> str | None:
    """Return when a server that has had too many requests wants to be asked again."""
    limit = _RATE_LIMIT.search(response.headers.get("RateLimit", ""))
    return limit[1] if limit else response.headers.get("Retry-After")


def _cut(error: httpx2.TransportError, response: httpx2.Response) -> ServerFault:
    is_late = isinstance(error, httpx2.TimeoutException)
    why = "nothing more comes, or next to nothing" if is_late else "the connection was cut"
    return ServerFault(why, origin_of(str(response.url)), is_unreachable=is_late)


def _bad_settings(error: Exception) -> ModpmError:
    about = {
        ImportError: "proxies of SOCKS need the package `socksio`",
        OSError: "the certificates that `SSL_CERT_FILE` or `SSL_CERT_DIR` names cannot be read",
    }
    why = next((text for kind, text in about.items() if isinstance(error, kind)), str(error))
    return ModpmError(
        "the network cannot be used as the environment says",
        code="invalid-environment",
        why=why,
        hint="correct or unset the variables for proxies (`ALL_PROXY`, `HTTPS_PROXY`, "
        "`HTTP_PROXY`) and certificates (`SSL_CERT_FILE`, `SSL_CERT_DIR`)",
    )
