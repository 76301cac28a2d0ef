"""Requests to the server of an OCI registry, with credentials, patience and errors in words."""

from __future__ import annotations

import ipaddress
import json
import os
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Self
from urllib.parse import urlsplit

import oras.provider
import requests
import urllib3

from modpm.core.errors import ModpmError
from modpm.registry.backends import retrying
from modpm.registry.backends.oci.credentials import Credentials
from modpm.registry.backends.retrying import ServerFault, fault_of_status, persistently

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

PLAIN_HTTP = "MODPM_OCI_PLAIN_HTTP"
"""The variable that names servers, between commas, to speak to without encryption."""

N_CONNECTIONS = 8

OK, CREATED, ACCEPTED, PARTIAL_CONTENT = 200, 201, 202, 206
UNAUTHORISED, FORBIDDEN, NOT_FOUND, NOT_ALLOWED = 401, 403, 404, 405

_MAX_MESSAGE_LENGTH = 200


@dataclass(frozen=True)
class Endpoint:
    """Where a server is, and as whom to speak to it.

    Attributes:
        host: Its name and port.
        scheme: `https`, or `http` for a server of this machine or one that may be spoken to so.
        docker_config: A file of Docker's credentials besides the one in the home folder.
    """

    host: str
    scheme: str
    docker_config: str | None

    @classmethod
    def of_environment(cls, host: str) -> Self:
        """Return the endpoint as the environment of this process says."""
        folder = os.environ.get("DOCKER_CONFIG")
        config = str(Path(folder) / "config.json") if folder else None
        return cls(host, "http" if _is_plain(host) else "https", config)


class Server:
    """The server of a registry.

    Requests about one repository share a `Server`, since a token is for one repository.

    Args:
        endpoint: Where it is.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self.host = host = endpoint.host
        self.scheme = endpoint.scheme
        client = oras.provider.Registry(hostname=host, insecure=self.scheme == "http")
        self._session: requests.Session = client.session
        # Otherwise requests puts what `.netrc` says in place of our own credentials.
        self._session.auth = lambda request: request
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, _Adapter(pool_maxsize=N_CONNECTIONS))
        self._credentials = Credentials(self._session, endpoint)
        self._authorisation: dict[str, str] = {}

    @property
    def location(self) -> str:
        """The server, for errors."""
        return f"registry oci://{self.host}"

    def url(self, path: str) -> str:
        """Return the URL of a path, or of what the server gave as the next place to go."""
        return path if "://" in path else f"{self.scheme}://{self.host}{path}"

    def ask(
        self,
        method: str,
        path: str,
        *,
        accepted: Collection[int],
        headers: Mapping[str, str] | None = None,
        content: Callable[[], BinaryIO] | bytes | None = None,
    ) -> requests.Response:
        """Return the response to a request, whose body is still to be read.

        Args:
            method: Of HTTP.
            path: As for `url`.
            accepted: The statuses that are answers.
            headers: Of the request.
            content: Its body, or what opens it.

        Raises:
            ModpmError: `network-failed`, `rate-limited`, `not-authorised`,
                `read-only-registry`.
        """
        once = partial(
            self.ask_once, method, path, accepted=accepted, headers=headers, content=content
        )
        return persistently(once, self.location)

    def ask_once(
        self,
        method: str,
        path: str,
        *,
        accepted: Collection[int],
        headers: Mapping[str, str] | None = None,
        content: Callable[[], BinaryIO] | bytes | None = None,
    ) -> requests.Response:
        """Do the same, and leave it to the caller to ask again.

        Raises:
            ServerFault: Asking again may help.
            ModpmError: As `ask`.
        """
        url = self.url(path)
        with self._faults():
            response = self._send(method, url, headers, content)
            if response.status_code in {UNAUTHORISED, FORBIDDEN}:
                answer = self._answer(response)
                if answer is not None:
                    self._authorisation = answer
                    response = self._send(method, url, headers, content)
        if response.status_code in accepted:
            return response
        with response:
            raise self._refusal(response)

    def read(self, response: requests.Response, max_size_bytes: int, what: str) -> bytes:
        """Return the body of a response, if it is no larger than it may be.

        Raises:
            ServerFault: The connection broke.
            ModpmError: `too-large`.
        """
        data = b""
        with response, self._faults():
            # A body that was cut off shows itself by the read after its last byte.
            while block := response.raw.read(max_size_bytes + 1 - len(data)):
                data += block
        if len(data) > max_size_bytes:
            raise ModpmError(
                f"{what} is larger than {max_size_bytes} bytes",
                code="too-large",
                where=self.location,
                hint="ask whoever keeps the registry",
            )
        return data

    def _send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None,
        content: Callable[[], BinaryIO] | bytes | None,
    ) -> requests.Response:
        own = self._authorisation if self._is_ours(url) else {}
        sent = {"Accept-Encoding": "identity", **(headers or {}), **own}
        send = partial(
            self._session.request,
            method,
            url,
            headers=sent,
            stream=True,
        )
        if not callable(content):
            return send(data=content)
        with content() as file:
            return send(data=file)

    def _answer(self, refusal: requests.Response) -> dict[str, str] | None:
        try:
            answer = self._credentials.answer(refusal)
        except BaseException:
            refusal.close()
            raise
        if answer is not None:
            refusal.close()
        return answer

    def _is_ours(self, url: str) -> bool:
        """Say whether a token may be sent there: to nobody but the server that asked for it."""
        parts = urlsplit(url)
        return (parts.scheme, parts.netloc) == (self.scheme, self.host)

    @contextmanager
    def _faults(self) -> Iterator[None]:
        """Say in our own words what the network does; the library's may hold signed addresses."""
        fault = None
        try:
            yield
        except requests.exceptions.SSLError:
            fault = "its certificate is not accepted, or it does not encrypt"
        except requests.exceptions.Timeout:
            fault = "it does not answer in time"
        except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError) as error:
            fault = f"the connection fails ({type(error).__name__})"
        if fault is not None:
            raise ServerFault(fault)

    def _refusal(self, response: requests.Response) -> Exception:
        status = response.status_code
        fault = fault_of_status(status, response.headers.get("Retry-After"))
        if fault is not None:
            return fault
        why = f"it answers with status {status}{message_of(response)}"
        if status in {UNAUTHORISED, FORBIDDEN}:
            return ModpmError(
                "the registry does not accept these credentials",
                code="not-authorised",
                where=self.location,
                why=why,
                hint=f"run `docker login {self.host}` or `oras login {self.host}`; the name may "
                "also be wrong, or your account may not do this",
            )
        if status == NOT_ALLOWED:
            return ModpmError(
                "the registry does not allow this",
                code="read-only-registry",
                where=self.location,
                why=why,
                hint="it may be read-only; ask whoever keeps it",
            )
        return ModpmError(
            "the registry refuses a request",
            code="network-failed",
            where=self.location,
            why=why,
            hint="check the address, and that an OCI registry is there",
        )


class _Adapter(requests.adapters.HTTPAdapter):
    """Waits for no answer for ever, not even where oras asks for a token."""

    # What requests passes on is its own business.
    def send(self, *args: Any, **options: Any) -> requests.Response:  # noqa: ANN401 -- passed on as they came
        options["timeout"] = options.get("timeout") or retrying.TIMEOUT_SECONDS
        return super().send(*args, **options)


def message_of(response: requests.Response) -> str:
    """Return what the server says, a few words of it that can be printed."""
    try:
        errors = json.loads(response.raw.read(4096))["errors"]
        text = ", ".join(str(error.get("message") or error["code"]) for error in errors)
    except (ValueError, KeyError, TypeError, AttributeError, urllib3.exceptions.HTTPError):
        return ""
    printable = "".join(c for c in text if c.isprintable())
    return f": {printable[:_MAX_MESSAGE_LENGTH]}" if printable else ""


def _is_plain(host: str) -> bool:
    """Say whether a server is spoken to without encryption: one of this machine, or as asked."""
    name = urlsplit(f"//{host}").hostname or ""
    named = {part.strip() for part in os.environ.get(PLAIN_HTTP, "").split(",")}
    return name == "localhost" or host in named or _is_loopback(name)


def _is_loopback(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
