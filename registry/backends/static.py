"""A registry that is only read: a copy of one on any web server (`specs/backends.md`)."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING, BinaryIO, NoReturn
from urllib.parse import quote

from modpm.core.errors import ModpmError
from modpm.core.formats import canonical_json
from modpm.core.formats.digest import digest_bytes
from modpm.core.formats.names import ModuleName
from modpm.registry.backends import plain_http
from modpm.registry.backends.file_registry import FileRegistry, Reading
from modpm.registry.backends.layout import NAMESPACES_FILE
from modpm.registry.backends.refusals import cannot_list, not_authorized
from modpm.registry.backends.retrying import persistently
from modpm.registry.backends.web import Request, Web

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import httpx2

    from modpm.core.formats.distribution import Distribution
    from modpm.registry.backends.protocol import Published

_DIGEST = "sha256:"
_E_TAG = re.compile(r'(W/)?"[\x21\x23-\x7e]{0,200}"')
_ABSENT = {HTTPStatus.NOT_FOUND, HTTPStatus.GONE}
_DENIED = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.PROXY_AUTHENTICATION_REQUIRED}
_FOUND = {
    *(HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE),
    HTTPStatus.NOT_MODIFIED,
}


class StaticRegistry(FileRegistry):
    """The files of a registry, on a web server that knows nothing of registries.

    Raises:
        ModpmError: `insecure-http`.
    """

    def __init__(self, url: str) -> None:
        plain_http.check(url)
        super().__init__(url)
        self._web = Web(url)

    def names(self, namespace: str | None = None) -> list[ModuleName]:
        """Return the modules that the catalogue has, sorted: a list that is not whole is none."""
        self._check_layout()
        counts = self._counts(namespace)
        if counts is None:
            raise cannot_list(
                self.location,
                f"the server has no `{NAMESPACES_FILE}`",
                ", or ask whoever keeps the registry to run `modpm registry reindex` "
                "and to copy it again",
            )
        found: list[ModuleName] = []
        for shard in self._shards(counts, {}):
            if shard.problem is not None and not shard.entries:
                raise shard.problem
            found += [ModuleName(shard.namespace, name) for name in shard.entries or ()]
        return sorted(found)

    def publish(self, distributions: Sequence[Distribution]) -> list[Published]:  # noqa: ARG002 -- Backend's
        """Refuse: a copy is only read."""
        self._writing()

    def _read(self, path: str, seen: str | None = None) -> Reading | None:
        e_tag = None if seen is None or seen.startswith(_DIGEST) else seen
        asked = {} if e_tag is None else {"If-None-Match": e_tag}

        def ask() -> Reading | None:
            response = self._get(path, asked)
            if response is None:
                return None
            data = self._web.read(response, canonical_json.MAX_SIZE_BYTES)
            if asked and response.status_code == HTTPStatus.NOT_MODIFIED:
                return Reading(None, seen)
            state = response.headers.get("ETag", "")
            # A server that gives no ETag sends all of it, and need not be believed to have
            # changed it.
            state = state if _E_TAG.fullmatch(state) else digest_bytes(data)
            return Reading(None if state == seen else data, state)

        return persistently(ask, self.location)

    def _open(self, path: str, offset: int) -> BinaryIO | None:
        headers = {"Range": f"bytes={offset}-"} if offset > 0 else {}
        response = persistently(lambda: self._get(path, headers), self.location)
        where = self._where(path)
        return None if response is None else self._web.opened(response, offset, where)

    def _get(self, path: str, headers: Mapping[str, str]) -> httpx2.Response | None:
        """Return what the server answers of a file; None if there is no such file."""
        response = self._web.ask(Request("GET", self._where(quote(path)), headers))
        status, why = response.status_code, f"it answers with status {response.status_code}"
        if status in _FOUND:
            return response
        response.close()
        if status in _ABSENT:
            return None
        if status in _DENIED:
            hint = "registries on web servers are read without credentials"
            raise not_authorized("the web server does not let you in", self.location, why, hint)
        raise self._web.refused(why)

    def _update(self, path: str, change: Callable[[bytes | None], bytes | None]) -> None:  # noqa: ARG002 -- its base's
        self._writing()

    def _writing(self) -> NoReturn:
        raise ModpmError(
            "this registry is only read",
            code="read-only-registry",
            where=self.location,
            why="it is a copy on a web server",
            hint="publish to the registry that it is a copy of",
        )
