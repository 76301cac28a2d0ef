"""Files on a web server: small ones read whole, large ones from any byte on."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import quote

from modpm.core.formats import canonical_json
from modpm.registry.backends import plain_http, retrying
from modpm.registry.backends.refusals import not_authorised
from modpm.registry.backends.web import Request, Web

if TYPE_CHECKING:
    import httpx2

_FOUND = {
    *(HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE),
    HTTPStatus.NOT_MODIFIED,
}
_E_TAG = re.compile(r'(W/)?"[\x21\x23-\x7e]{0,200}"')
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
        try:
            return self.changed(path, None)[0]
        except FileNotFoundError:
            return None

    def changed(self, path: str, seen: str | None) -> tuple[bytes | None, str | None]:
        """Return a small file as `document` does, and its ETag, if the server gives one.

        Args:
            path: The file.
            seen: An ETag; there are no bytes if the file still has it.

        Raises:
            FileNotFoundError: There is no such file.
            ModpmError: As `document`.
        """

        def ask() -> tuple[bytes | None, str | None]:
            response = self._get(path, {} if seen is None else {"If-None-Match": seen})
            e_tag = response.headers.get("ETag", "")
            data = self._web.read(response, canonical_json.MAX_SIZE_BYTES)
            if seen is not None and response.status_code == HTTPStatus.NOT_MODIFIED:
                return None, seen
            return data, e_tag if _E_TAG.fullmatch(e_tag) else None

        return retrying.persistently(ask, self._url)

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
        response = self._web.ask(Request("GET", f"{self._url}/{quote(path)}", headers))
        status, why = response.status_code, f"it answers with status {response.status_code}"
        if status in _FOUND:
            return response
        response.close()
        if status in _ABSENT:
            raise FileNotFoundError
        if status in _DENIED:
            hint = "registries on web servers are read without credentials"
            raise not_authorised("the web server does not let you in", self._url, why, hint)
        raise self._web.refused(why)
