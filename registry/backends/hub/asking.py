"""Asking the Hub, with answers and refusals as modpm's own.

huggingface_hub's session belongs to the whole process, waits without end and sleeps as long as a
server says: it is not used here, and nothing of the library is changed. The token goes to the
endpoint and nowhere else; what a server says is cleaned of it, since it can say it back.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from functools import partial
from importlib import metadata
from typing import TYPE_CHECKING, Any, BinaryIO

from huggingface_hub import constants, get_token

from modpm.core.errors import ModpmError
from modpm.registry.backends import plain_http
from modpm.registry.backends.refusals import network_failed
from modpm.registry.backends.retrying import persistently
from modpm.registry.backends.web import Request, Web, origin_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import httpx2

BAD, UNAUTHORIZED, FORBIDDEN, MISSING, CONFLICT, STALE = 400, 401, 403, 404, 409, 412

NONSENSE = "its answer cannot be understood"

_BEYOND_THE_END = 416
_MAX_LISTING_BYTES = 64 * 1024 * 1024
_WRONG_TOKEN = "Invalid credentials in Authorization header"  # noqa: S105 -- the Hub's words
_NOT_THERE = {
    "RepoNotFound": "there is no such repository, or it is private",
    "RevisionNotFound": "the repository has no such tag or commit",
    "EntryNotFound": "the repository has no such file",
}


class RefusalError(ModpmError):
    """What the Hub does not do, by the status of HTTP that it answered with."""

    words: tuple[str, str, str | None] = ("the Hub refuses the request", "network-failed", None)

    def __init__(self, status: int, where: str, why: str) -> None:
        what, code, hint = self.words
        super().__init__(what, code=code, where=where, why=why, hint=hint)
        self.status = status


class MissingError(RefusalError):
    """A repository, revision or file that is not there, or not for who asks."""

    words = (
        "this is not on the Hub",
        "missing-file",
        "if it is private, log in with `modpm login`",
    )


class DeniedError(RefusalError):
    """What the Hub does not do for who asks."""

    words = (
        *("the Hub does not allow this", "not-authorized"),
        "log in with `modpm login`, with a token that may do this",
    )


class Hub:
    """The Hub at an endpoint, as one user; without a token, as nobody.

    Whatever asks it raises what `ask` does.
    """

    def __init__(self, endpoint: str, token: str | None) -> None:
        self.endpoint = endpoint
        self._token = token
        self._web = Web(endpoint)

    @classmethod
    def of_environment(cls, location: str) -> Hub:
        """Return the Hub of `HF_ENDPOINT`, as the user whose token huggingface_hub keeps.

        Raises:
            ModpmError: `not-authorized`, if there should be a token and is none;
                `insecure-http`; `invalid-environment`.
        """
        is_nobody = constants.HF_HUB_DISABLE_IMPLICIT_TOKEN
        return cls(endpoint(), None if is_nobody else kept_token(location))

    def ask(self, request: Request, where: str, *, is_known: bool = True) -> httpx2.Response:
        """Return what the Hub answers, whose body is still to be read.

        The address is below the endpoint, or one that the Hub gave; to one that is signed, who asks
        need not be `is_known`.

        Raises:
            MissingError: Code `missing-file`.
            RefusalError: Any other answer that is an error: `not-authorized` or `network-failed`.
            ModpmError: `network-failed`, `rate-limited`.
        """
        return persistently(partial(self._ask_once, request, where, is_known=is_known), where)

    def read(
        self, request: Request, where: str, limit: int = _MAX_LISTING_BYTES
    ) -> tuple[bytes, httpx2.Response]:
        """Return what the answer holds, or its beginning if that is more than the limit."""

        def once() -> tuple[bytes, httpx2.Response]:
            response = self._ask_once(request, where)
            return self._web.read(response, limit), response

        return persistently(once, where)

    def opened(self, path: str, where: str, offset: int) -> BinaryIO:
        """Return a file to read, from one of its bytes on."""
        ranged = {"Range": f"bytes={offset}-"} if offset else {}
        return self._web.opened(self.ask(Request("GET", path, ranged), where), offset, where)

    def call(
        self,
        method: str,
        path: str,
        where: str,
        said: Mapping[str, object] | bytes = b"",
        kind: str = "application/json",
    ) -> Any:  # noqa: ANN401 -- any document
        """Return the JSON that a call of the Hub's interface answers with."""
        content = said if isinstance(said, bytes) else json.dumps(said).encode()
        headers = {"Content-Type": kind, "Accept": kind} if content else {}
        return _decoded(self.read(Request(method, path, headers, content), where)[0], where)

    def listed(self, path: str, where: str) -> Iterator[Any]:
        """Give what the pages of a list hold."""
        next_path: str | None = path
        while next_path is not None:
            data, response = self.read(Request("GET", next_path), where)
            page = _decoded(data, where)
            if not isinstance(page, list):
                raise failed(where, NONSENSE)
            yield from page
            next_path = response.links.get("next", {}).get("url") if page else None

    def _ask_once(self, request: Request, where: str, *, is_known: bool = True) -> httpx2.Response:
        if constants.is_offline_mode():
            why, hint = "`HF_HUB_OFFLINE` is set", "unset it, or use what is in the store"
            raise failed(where, why, hint)
        url = request.url if "://" in request.url else f"{self.endpoint}{request.url}"
        own = {"User-Agent": f"modpm/{metadata.version('modpm')}"}
        if is_known and self._token is not None and origin_of(url) == origin_of(self.endpoint):
            own["Authorization"] = f"Bearer {self._token}"
        headers = {**own, **request.headers}
        response = self._web.ask(replace(request, url=url, headers=headers))
        if response.status_code < BAD or response.status_code == _BEYOND_THE_END:
            return response
        raise _refusal(response, where, self._web.told(response, self._token))


def endpoint() -> str:
    """Return the address of the Hub that the environment names, or else of the only one.

    Raises:
        ModpmError: `invalid-environment`, `insecure-http`.
    """
    named: str = os.environ.get("HF_ENDPOINT", "").rstrip("/") or constants.ENDPOINT
    plain_http.check_endpoint("HF_ENDPOINT", named)
    return named


def kept_token(where: str) -> str | None:
    """Return the token that the environment, or huggingface_hub's store, has; None for none.

    Raises:
        DeniedError: `HF_OIDC_RESOURCE` is set, and gives none.
    """
    try:
        return get_token()
    except Exception:  # noqa: BLE001 -- a server may be asked for it, by the library's own means
        why = "no token was given for `HF_OIDC_RESOURCE`"
    # Not where it was caught: what the library raises may hold a token.
    raise DeniedError(UNAUTHORIZED, where, why)


def field(answer: object, name: str, where: str) -> Any:  # noqa: ANN401 -- any value
    """Return what an answer holds under a name.

    Raises:
        ModpmError: `network-failed`, if it does not.
    """
    if not isinstance(answer, dict) or name not in answer:
        raise failed(where, NONSENSE)
    return answer[name]


def failed(where: str, why: str, hint: str | None = None) -> ModpmError:
    """Return the error of a Hub that gives no answer that helps."""
    hint = hint or "check the connection, and run the command again"
    return network_failed("the Hub cannot be asked", where, why, hint)


def _decoded(data: bytes, where: str) -> Any:  # noqa: ANN401 -- any document
    try:
        return json.loads(data or b"null")
    except (ValueError, RecursionError):
        raise failed(where, NONSENSE) from None


def _refusal(response: httpx2.Response, where: str, told: str) -> RefusalError:
    status, error_code = response.status_code, response.headers.get("X-Error-Code", "")
    if error_code == "GatedRepo":
        return DeniedError(status, where, "the repository is gated: its owner decides who")
    # Who is not known is told so of a repository that is missing, too.
    is_reading = response.request.method in {"GET", "HEAD"} and "/whoami" not in str(response.url)
    is_wrong_token = response.headers.get("X-Error-Message") == _WRONG_TOKEN
    if not error_code and status == UNAUTHORIZED and is_reading and not is_wrong_token:
        error_code = "RepoNotFound"
    if error_code in _NOT_THERE:
        return MissingError(status, where, _NOT_THERE[error_code])
    kind = DeniedError if status in {UNAUTHORIZED, FORBIDDEN} else RefusalError
    return kind(status, where, told)
