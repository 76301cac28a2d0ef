"""Requests to the server of an OCI registry, with credentials, patience and errors in words."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, Self

from modpm.core.errors import ModpmError
from modpm.registry.backends import plain_http
from modpm.registry.backends.oci.credentials import DOCKER_HUB, OF_DOCKER_HUB, Credentials
from modpm.registry.backends.refusals import network_failed, not_authorized
from modpm.registry.backends.web import NotEncryptedFault, Request, Web, origin_of

if TYPE_CHECKING:
    import httpx2

OK, CREATED, ACCEPTED, PARTIAL_CONTENT = 200, 201, 202, 206
UNAUTHORIZED, FORBIDDEN, NOT_FOUND, NOT_ALLOWED = 401, 403, 404, 405

_OTHER_NAMES = dict.fromkeys(("docker.io", OF_DOCKER_HUB), DOCKER_HUB)


class Endpoint(NamedTuple):
    """Where a server is, and as whom to speak to it: a folder of Docker's may say that.

    The scheme is `http` for a server of this machine or one that may be spoken to so.
    """

    host: str
    scheme: str
    docker_config: str | None

    @classmethod
    def of_environment(cls, host: str) -> Self:
        """Return the endpoint as the environment of this process says."""
        scheme = "http" if plain_http.is_expected(host) else "https"
        return cls(_OTHER_NAMES.get(host, host), scheme, os.environ.get("DOCKER_CONFIG"))


class Server:
    """The server of a registry.

    Requests about one repository share a `Server`, since a token is for one repository; all of a
    registry share a `Web`, which saves connections.
    """

    def __init__(self, endpoint: Endpoint, web: Web | None = None) -> None:
        self.host, self.scheme, _ = endpoint
        self.web = web or Web(self.location)
        self._credentials = Credentials(self.web, *endpoint)
        self._authorization: dict[str, str] = {}

    @property
    def location(self) -> str:
        """The server, for errors."""
        return f"registry oci://{self.host}"

    def url(self, path: str) -> str:
        """Return the URL of a path, or of what the server gave as the next place to go."""
        return path if "://" in path else f"{self.scheme}://{self.host}{path}"

    def ask(self, request: Request, *accepted: int) -> httpx2.Response:
        """Return the response to a request if its status is accepted; its body is still to be read.

        Raises:
            ServerFault: Asking again may help.
            ModpmError: `network-failed`, `not-authorized`, `read-only-registry`.
        """
        request = replace(request, url=self.url(request.url))
        response = self._send(request)
        if response.status_code in {UNAUTHORIZED, FORBIDDEN} and self._is_ours(str(response.url)):
            # Whom we were sent on to is not asked who he wants to hear from.
            answer = self._credentials.answer(response.headers.get_list("WWW-Authenticate"))
            if answer is not None:
                response.close()
                self._authorization = answer
                response = self._send(request)
        if response.status_code in accepted:
            return response
        raise self._refusal(response)

    def read(self, response: httpx2.Response, max_size_bytes: int, what: str) -> bytes:
        """Return the body of a response, if it is no larger than it may be.

        Raises:
            ServerFault: The connection broke.
            ModpmError: `too-large`.
        """
        data = self.web.read(response, max_size_bytes)
        if len(data) > max_size_bytes:
            raise ModpmError(
                f"{what} is larger than {max_size_bytes} bytes",
                code="too-large",
                where=self.location,
                hint="ask whoever keeps the registry",
            )
        return data

    def _send(self, request: Request) -> httpx2.Response:
        is_ours = self._is_ours(request.url)
        own = self._authorization if is_ours else {}
        try:
            return self.web.ask(replace(request, headers={**request.headers, **own}))
        except NotEncryptedFault:
            if not (is_ours and plain_http.may_be(self.host)):
                raise
        self._authorization, self.scheme = {}, "http"
        self._credentials = replace(self._credentials, scheme=self.scheme)
        return self._send(replace(request, url=f"http{request.url.removeprefix('https')}"))

    def _is_ours(self, url: str) -> bool:
        """Say whether a token may be sent there: to nobody but the server that asked for it."""
        return origin_of(url) == origin_of(f"{self.scheme}://{self.host}")

    def _refusal(self, response: httpx2.Response) -> ModpmError:
        status = response.status_code
        why = self.web.told(response)
        if status in {UNAUTHORIZED, FORBIDDEN}:
            hint = (
                f"run `docker login {self.host}` or `oras login {self.host}`; the name may also be "
                "wrong, or your account may not do this"
            )
            what = "the registry does not accept these credentials"
            return not_authorized(what, self.location, why, hint)
        if status == NOT_ALLOWED:
            what, hint = "the registry does not allow this", "it may be read-only; ask its keeper"
            where = self.location
            return ModpmError(what, code="read-only-registry", where=where, why=why, hint=hint)
        hint = "check the address, and that an OCI registry is there"
        return network_failed("the registry refuses a request", self.location, why, hint)
