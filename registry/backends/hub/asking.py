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
from modpm.registry.backends.retrying import persistently
from modpm.registry.backends.web import Request, Web, origin_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    import httpx2

BAD, UNAUTHORISED, FORBIDDEN, MISSING, CONFLICT, STALE = 400, 401, 403, 404, 409, 412

_BEYOND_THE_END = 416
_MAX_TOLD = 500
_MAX_LISTING_BYTES = 64 * 1024 * 1024
_WRONG_TOKEN = "Invalid credentials in Authorization header"  # noqa: S105 -- the Hub's words
_NOT_THERE = {
    "RepoNotFound": "there is no such repository, or it is private",
    "RevisionNotFound": "the repository has no such tag or commit",
    "EntryNotFound": "the repository has no such file",
}


class RefusalError(ModpmError):
    """What the Hub does not do.

    Args:
        status: The status of HTTP that it answered with.
        what, code, where, why, hint: As for `ModpmError`.
    """

    def __init__(
        self, status: int, what: str, *, code: str, where: str, why: str, hint: str | None = None
    ) -> None:
        super().__init__(what, code=code, where=where, why=why, hint=hint)
        self.status = status


class MissingError(RefusalError):
    """A repository, revision or file that is not there, or not for who asks."""


class Hub:
    """The Hub, as one user.

    Args:
        endpoint: Its address.
        token: The user's token; None for nobody's.
    """

    def __init__(self, endpoint: str, token: str | None) -> None:
        self.endpoint = endpoint
        self._token = token
        self._web = Web(endpoint)

    @classmethod
    def of_environment(cls, location: str) -> Hub:
        """Return the Hub of `HF_ENDPOINT`, as the user whose token huggingface_hub keeps.

        Args:
            location: The registry, for errors.

        Raises:
            ModpmError: `not-authorised`, if there should be a token and is none;
                `insecure-http`; `invalid-environment`.
        """
        token = None
        if not constants.HF_HUB_DISABLE_IMPLICIT_TOKEN:
            token = kept_token(location)
        return cls(endpoint(), token)

    def ask(self, request: Request, where: str, *, is_known: bool = True) -> httpx2.Response:
        """Return what the Hub answers, whose body is still to be read.

        Args:
            request: What is asked; its address is below the endpoint, or one that the Hub gave.
            where: The registry or repository, for errors.
            is_known: Whether to say who asks; a signed address is enough by itself.

        Raises:
            MissingError: Code `missing-file`.
            RefusalError: Any other answer that is an error: `not-authorised` or `network-failed`.
            ModpmError: `network-failed`, `rate-limited`.
        """
        return persistently(partial(self._ask_once, request, where, is_known=is_known), where)

    def read(
        self, request: Request, where: str, limit: int = _MAX_LISTING_BYTES
    ) -> tuple[bytes, httpx2.Response]:
        """Return what the answer holds, or its beginning if that is more than the limit.

        Raises:
            ModpmError: As `ask`.
        """

        def once() -> tuple[bytes, httpx2.Response]:
            response = self._ask_once(request, where)
            return self._web.read(response, limit), response

        return persistently(once, where)

    def opened(self, path: str, where: str, offset: int) -> BinaryIO:
        """Return a file to read, from one of its bytes on.

        Raises:
            ModpmError: As `ask`.
        """
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
        """Return the JSON that a call of the Hub's interface answers with.

        Args:
            method: Of HTTP.
            path: Below the endpoint, or an address that the Hub gave.
            where: The registry or repository, for errors.
            said: What is sent, as JSON or as it is.
            kind: The media type of that.

        Raises:
            ModpmError: As `ask`.
        """
        content = said if isinstance(said, bytes) else json.dumps(said).encode()
        headers = {"Content-Type": kind, "Accept": kind} if content else {}
        return _decoded(self.read(Request(method, path, headers, content), where)[0], where)

    def listed(self, path: str, where: str) -> Iterator[Any]:
        """Give what the pages of a list hold.

        Raises:
            ModpmError: As `ask`.
        """
        next_path: str | None = path
        while next_path is not None:
            data, response = self.read(Request("GET", next_path), where)
            page = _decoded(data, where)
            if not isinstance(page, list):
                raise nonsense(where)
            yield from page
            next_path = response.links.get("next", {}).get("url") if page else None

    def _ask_once(self, request: Request, where: str, *, is_known: bool = True) -> httpx2.Response:
        if constants.is_offline_mode():
            why, hint = "`HF_HUB_OFFLINE` is set", "unset it, or use what is in the store"
            raise _failed(where, why, hint)
        url = request.url if "://" in request.url else f"{self.endpoint}{request.url}"
        headers = {**self._headers(url, is_known=is_known), **request.headers}
        response = self._web.ask(replace(request, url=url, headers=headers))
        if response.status_code < BAD or response.status_code == _BEYOND_THE_END:
            return response
        raise _refusal(response, where, self._told(response))

    def _headers(self, url: str, *, is_known: bool) -> dict[str, str]:
        headers = {"User-Agent": f"modpm/{metadata.version('modpm')}"}
        if is_known and self._token is not None and origin_of(url) == origin_of(self.endpoint):
            headers["Authorization"] = f"Bearer {self._token}"
        return headers

    def _told(self, response: httpx2.Response) -> str:
        """Return what the server said, on one line and without the token that it was sent."""
        said = response.headers.get("X-Error-Message", "")
        data = self._web.read(response, _MAX_LISTING_BYTES)
        if not said:
            try:
                answer = json.loads(data)
                errors = answer.get("errors") or [{"message": answer.get("error", "")}]
                said = "; ".join(str(error.get("message")) for error in errors)
            except (ValueError, AttributeError):
                said = ""
        said = " ".join(said.split()).replace(self._token or "\n", "(your token)")
        said = "".join(c for c in said if c.isprintable())[:_MAX_TOLD]
        status = f"it answers with status {response.status_code}"
        return f"{status}: {said}" if said else status


def endpoint() -> str:
    """Return the address of the Hub that the environment names, or else of the only one.

    Raises:
        ModpmError: `invalid-environment`, `insecure-http`.
    """
    named: str = os.environ.get("HF_ENDPOINT", "").rstrip("/") or constants.ENDPOINT
    if not named.startswith(("http://", "https://")):
        raise ModpmError(
            "`HF_ENDPOINT` is not the address of a Hub",
            code="invalid-environment",
            why="it has no `https://` at its beginning",
            hint="write `https://` and the name of the server into `HF_ENDPOINT`",
        )
    plain_http.check(named)
    return named


def kept_token(where: str) -> str | None:
    """Return the token that the environment, or huggingface_hub's store, has; None for none.

    Raises:
        ModpmError: `not-authorised`, if `HF_OIDC_RESOURCE` is set and gives none.
    """
    try:
        token: str | None = get_token()
    except Exception:  # noqa: BLE001 -- a server may be asked for it, by the library's own means
        token = None
        failed = True
    else:
        failed = False
    # Not where it was caught: what the library raises may hold a token.
    if failed:
        raise _not_authorised(UNAUTHORISED, where, "no token was given for `HF_OIDC_RESOURCE`")
    return token


def _decoded(data: bytes, where: str) -> Any:  # noqa: ANN401 -- any document
    """Return the JSON that was answered.

    Raises:
        ModpmError: `network-failed`.
    """
    try:
        return json.loads(data or b"null")
    except (ValueError, RecursionError):
        raise nonsense(where) from None


def nonsense(where: str) -> ModpmError:
    """Return the error of an answer that is not what was asked for."""
    return _failed(where, "its answer cannot be understood")


def field(answer: object, names: Collection[str], where: str) -> Any:  # noqa: ANN401 -- any value
    """Return what an answer holds under a chain of names.

    Raises:
        ModpmError: `network-failed`, if it does not.
    """
    for name in names:
        if not isinstance(answer, dict) or name not in answer:
            raise nonsense(where)
        answer = answer[name]
    return answer


def _refusal(response: httpx2.Response, where: str, told: str) -> RefusalError:
    status, error_code = response.status_code, response.headers.get("X-Error-Code", "")
    if error_code == "GatedRepo":
        return _not_authorised(status, where, "the repository is gated: its owner decides who")
    # Who is not known is told so of a repository that is missing, too.
    is_reading = response.request.method in {"GET", "HEAD"} and "/whoami" not in str(response.url)
    is_wrong_token = response.headers.get("X-Error-Message") == _WRONG_TOKEN
    if not error_code and status == UNAUTHORISED and is_reading and not is_wrong_token:
        error_code = "RepoNotFound"
    if error_code in _NOT_THERE:
        return MissingError(
            status,
            "this is not on the Hub",
            code="missing-file",
            where=where,
            why=_NOT_THERE[error_code],
            hint="if it is private, log in with `modpm login`",
        )
    if status in {UNAUTHORISED, FORBIDDEN}:
        return _not_authorised(status, where, told)
    return RefusalError(
        status, "the Hub refuses the request", code="network-failed", where=where, why=told
    )


def _not_authorised(status: int, where: str, why: str) -> RefusalError:
    return RefusalError(
        status,
        "the Hub does not allow this",
        code="not-authorised",
        where=where,
        why=why,
        hint="log in with `modpm login`, with a token that may do this",
    )


def _failed(where: str, why: str, hint: str | None = None) -> ModpmError:
    return ModpmError(
        "the Hub cannot be asked",
        code="network-failed",
        where=where,
        why=why,
        hint=hint or "check the connection, and run the command again",
    )
