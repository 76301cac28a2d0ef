"""Files on a web server: small ones read whole, large ones from any byte on."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import quote

from modpm.core.errors import ModpmError
from modpm.core.formats import canonical_json
from modpm.registry.backends import plain_http, retrying
from modpm.registry.backends.web import Web, origin_of

if TYPE_CHECKING:
    import httpx2

_FOUND = {HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE}
_ABSENT = {HTTPStatus.NOT_FOUND, HTTPStatus.GONE}
_DENIED = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.PROXY_AUTHENTICATION_REQUIRED}


class WebServer:
    """What is under an address.

    Args:
        url: `https://…` or `http://…`, without a slash at the end.

    Raises:
        ModpmError: `insecure-http`.
    """

    def __init__(self, url: str) -> None:
        plain_http.check(url)
        self._url = url
        self._web = Web(url)

    def document(self, path: str) -> bytes | None:
        """Return a small file, or enough of it to see that it is too large; None if absent.

        Raises:
            ModpmError: `network-failed`, `rate-limited`, `not-authorised`.
        """

        def ask() -> bytes:
            return self._web.read(self._get(path, {}), canonical_json.MAX_SIZE_BYTES)

        try:
            return retrying.persistently(ask, self._url)
        except FileNotFoundError:
            return None

    def opened(self, path: str, offset: int) -> BinaryIO | None:
        """Return a file to read, from one of its bytes on; None if there is no such file.

        Raises:
            ModpmError: As `document`.
        """
        headers = {"Range": f"bytes={offset}-"} if offset > 0 else {}
        try:
            response = retrying.persistently(lambda: self._get(path, headers), self._url)
        except FileNotFoundError:
            return None
        return self._web.opened(response, offset, f"{self._url}/{path}")

    def _get(self, path: str, headers: dict[str, str]) -> httpx2.Response:
        response = self._web.ask("GET", f"{self._url}/{quote(path)}", headers=headers)
        status = response.status_code
        if status in _FOUND:
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
        host = origin_of(str(response.url))
        fault = retrying.fault_of_status(status, response.headers.get("Retry-After"), host)
        raise fault or self._web.refused(f"it answers with status {status}")
