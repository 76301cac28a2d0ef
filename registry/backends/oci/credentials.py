"""Answering a server that asks who is there, by what `docker login` or `oras login` stored."""

from __future__ import annotations

import base64
import json
import re
import subprocess
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlencode, urlsplit

from modpm.core.formats import canonical_json
from modpm.registry.backends import plain_http
from modpm.registry.backends.refusals import not_authorized
from modpm.registry.backends.web import Request, origin_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from modpm.core.errors import ModpmError
    from modpm.registry.backends.web import Web

DOCKER_HUB, OF_DOCKER_HUB = "registry-1.docker.io", "index.docker.io"
"""The server, and under what name its credentials are stored."""

HELPER_SECONDS = 30.0
"""How long a program that keeps passwords may take."""

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 -- what RFC 9110 calls so
_PARAMETER = re.compile(rf'({_TOKEN})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|({_TOKEN}))\s*(?:,\s*|$)')
_SCHEME = re.compile(rf"({_TOKEN})(?:\s+|$|,\s*)")
_DAMAGES = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    RuntimeError,
    subprocess.SubprocessError,
)
_REFRESH_USER = "<token>"  # by which helpers mark that the password is a token to refresh


class Challenge(NamedTuple):
    """One way to say who one is."""

    scheme: str
    parameters: Mapping[str, str]


@dataclass(frozen=True)
class _Login:
    """What is stored for a server."""

    basic: str | None = None
    refresh_token: str | None = None


@dataclass(frozen=True)
class Credentials:
    """Who we are, for one server.

    What is in Docker's folder, if one is named, goes before what is in the home folder.
    """

    web: Web
    host: str
    scheme: str
    docker_config: str | None

    def answer(self, challenges: list[str]) -> dict[str, str] | None:
        """Return the headers with which a refused request may be accepted.

        They answer the first of the challenges (`WWW-Authenticate`, of the server itself and of no
        other) that can be; None if none can.

        Raises:
            ModpmError: `not-authorized`, if the stored credentials cannot be read.
            ServerFault: The server of tokens cannot be reached.
        """
        for challenge in (each for header in challenges for each in parse(header)):
            answer = None
            if challenge.scheme == "basic":
                answer = self._login.basic and f"Basic {self._login.basic}"
            elif challenge.scheme == "bearer":
                token = self._token(challenge.parameters)
                answer = token and f"Bearer {token}"
            if answer:
                return {"Authorization": answer}
        return None

    def _token(self, parameters: Mapping[str, str]) -> str | None:
        realm = parameters.get("realm", "")
        login = self._login if self._is_safe(realm) else None
        if login is None:
            return None
        asked = {key: parameters[key] for key in ("service", "scope") if key in parameters}
        if login.refresh_token is not None:
            form = {"grant_type": "refresh_token", "client_id": "modpm", **asked}
            content = urlencode({**form, "refresh_token": login.refresh_token}).encode()
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            request = Request("POST", realm, headers, content, led="nowhere")
        else:
            joint = "&" if urlsplit(realm).query else "?"
            basic = {} if login.basic is None else {"Authorization": f"Basic {login.basic}"}
            request = Request("GET", f"{realm}{joint}{urlencode(asked)}", basic)
        response = self.web.ask(request)
        data = self.web.read(response, canonical_json.MAX_SIZE_BYTES)
        try:
            answer = json.loads(data) if response.status_code == 200 else {}  # noqa: PLR2004 -- OK
            token = answer.get("token") or answer.get("access_token")
        except (ValueError, AttributeError):
            return None
        return token if isinstance(token, str) and token.isascii() and token.isprintable() else None

    def _is_safe(self, realm: str) -> bool:
        """Say whether a password may be sent there.

        Not in the open, but to the server itself; nor where somebody on the way may have sent us.
        """
        if origin_of(realm) == f"{self.scheme}://{self.host}".lower():
            return True
        is_believed = self.scheme == "https" or plain_http.is_loopback(self.host)
        return is_believed and urlsplit(realm).scheme == "https"

    @cached_property
    def _login(self) -> _Login:
        if self.scheme == "http" and not plain_http.is_expected(self.host):
            return _Login()  # plain http to any server is allowed, but no password with it
        key = OF_DOCKER_HUB if self.host == DOCKER_HUB else self.host
        folders = [self.docker_config, Path.home() / ".docker"]
        try:
            for file in (Path(folder) / "config.json" for folder in folders if folder):
                login = _login_in(json.loads(file.read_bytes()), key) if file.is_file() else None
                if login is not None:
                    return login
        except _DAMAGES:
            raise _unreadable(self.host) from None
        return _Login()


def parse(header: str) -> Iterator[Challenge]:
    """Give the challenges of one header, of which it may have several; what is none ends them."""
    rest = header.strip()
    while match := _SCHEME.match(rest):
        rest = rest[match.end() :]
        parameters: dict[str, str] = {}
        while parameter := _PARAMETER.match(rest):
            name, quoted, plain = parameter.groups()
            parameters[name.lower()] = plain or re.sub(r"\\(.)", r"\1", quoted or "")
            rest = rest[parameter.end() :]
        yield Challenge(match[1].lower(), parameters)


def _login_in(config: Mapping[str, Any], host: str) -> _Login | None:
    """Return what a file of Docker's says of a server; None if that is nothing."""
    helper = config.get("credHelpers", {}).get(host) or config.get("credsStore")
    stored = {_host_of(key): value for key, value in config.get("auths", {}).items()}.get(host)
    if stored and stored.get("identitytoken"):
        return _Login(refresh_token=stored["identitytoken"])
    if stored and stored.get("auth"):
        base64.b64decode(stored["auth"], validate=True)
        return _Login(basic=stored["auth"])
    return _login_of_helper(helper, host) if helper else None


def _login_of_helper(helper: str, host: str) -> _Login | None:
    server = f"https://{host}/v1/" if host == OF_DOCKER_HUB else host
    process = subprocess.run(  # noqa: S603 -- the program that the user's own file names
        [f"docker-credential-{helper}", "get"],
        input=server.encode(),
        capture_output=True,
        check=False,
        timeout=HELPER_SECONDS,
    )
    if process.returncode != 0:
        if b"not found" in process.stdout:
            return None
        raise ValueError(process.returncode)
    found = json.loads(process.stdout)
    user, secret = found["Username"], found["Secret"]
    if user == _REFRESH_USER:
        return _Login(refresh_token=secret)
    return _Login(basic=base64.b64encode(f"{user}:{secret}".encode()).decode())


def _host_of(key: str) -> str:
    """Return the server that an entry is for; it may be written as an address."""
    return key.partition("://")[2].partition("/")[0] if "://" in key else key.partition("/")[0]


def _unreadable(host: str) -> ModpmError:
    why = "Docker's `config.json`, or the helper that it names, is damaged"
    hint = "run `docker login` or `oras login` again"
    return not_authorized("the stored credentials cannot be read", f"oci://{host}", why, hint)
