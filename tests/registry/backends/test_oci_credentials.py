"""Servers of OCI artifacts that ask for a token, offer no list, or are none."""

from __future__ import annotations

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pytest

from modpm.core.errors import ModpmError
from modpm.core.formats.names import ModuleName
from modpm.registry.backends.oci.credentials import Credentials
from modpm.registry.backends.oci.registry import OciRegistry
from modpm.registry.backends.web import Web

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

CAT = ModuleName("digits", "cat")
SECRET = "kept-to-ourselves"  # noqa: S105 - what the tests look for
BASIC = "Basic " + base64.b64encode(f"reader:{SECRET}".encode()).decode()


class TokenServer(ThreadingHTTPServer):
    """A server that gives a token for a repository to who has the password, and no list."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answering)
        self.scopes: list[str] = []
        self.is_registry = True

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server_port}"

    @property
    def realm(self) -> str:
        return f"http://{self.host}/token"


class _Answering(BaseHTTPRequestHandler):
    server: TokenServer

    def do_GET(self) -> None:
        path = urlsplit(self.path)
        scope = f"repository:{path.path.removeprefix('/v2/').partition('/tags')[0]}:pull"
        if path.path == "/token":
            self._give_token(parse_qs(path.query)["scope"][0])
        elif path.path == "/v2/" and self.server.is_registry:
            self._answer(200, {})
        elif not self.server.is_registry or path.path == "/v2/_catalog":
            self._answer(404, {})
        elif self.headers["Authorization"] != f"Bearer {scope}":
            challenge = f'Bearer realm="{self.server.realm}",service="s",scope="{scope}"'
            self._answer(401, {}, {"WWW-Authenticate": challenge})
        else:
            self._answer(404, {"errors": [{"code": "NAME_UNKNOWN"}]})

    def log_message(self, *_: object) -> None:
        pass

    def _give_token(self, scope: str) -> None:
        self.server.scopes.append(scope)
        is_known = self.headers["Authorization"] == BASIC
        self._answer(200 if is_known else 401, {"token": scope} if is_known else {})

    def _answer(self, status: int, body: object, headers: dict[str, str] | None = None) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture
def server() -> Iterator[TokenServer]:
    with TokenServer() as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def log_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], str]:
    """Store a password for a server as `docker login` does; return the folder."""

    def store(host: str, basic: str) -> str:
        auths = {host: {"auth": basic.removeprefix("Basic ")}}
        (tmp_path / "config.json").write_text(json.dumps({"auths": auths}), encoding="utf-8")
        return str(tmp_path)

    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    return store


def error_of(work: Callable[[], object]) -> ModpmError:
    with pytest.raises(ModpmError) as caught:
        work()
    return caught.value


def test_a_token_is_asked_for_with_the_password_for_one_repository(
    server: TokenServer, log_in: Callable[[str, str], str]
) -> None:
    log_in(server.host, BASIC)
    registry = OciRegistry(f"oci://{server.host}/modules")

    assert registry.index(CAT) is None
    assert registry.index(CAT) is None
    assert server.scopes.count("repository:modules/digits/cat:pull") == 1


@pytest.mark.parametrize("basic", [BASIC[:-4] + "AAAA", None])
def test_who_gets_no_token_is_told_without_the_password(
    server: TokenServer, log_in: Callable[[str, str], str], basic: str | None
) -> None:
    if basic is not None:
        log_in(server.host, basic)

    error = error_of(lambda: OciRegistry(f"oci://{server.host}/modules").index(CAT))

    assert error.code == "not-authorized"
    assert SECRET not in str(error)
    assert BASIC[10:30] not in str(error)


def test_credentials_that_cannot_be_read_are_an_error(
    server: TokenServer, log_in: Callable[[str, str], str], tmp_path: Path
) -> None:
    log_in(server.host, BASIC)
    (tmp_path / "config.json").write_text("{", encoding="utf-8")

    assert error_of(lambda: OciRegistry(f"oci://{server.host}").index(CAT)).code == "not-authorized"


def test_a_password_is_not_sent_in_the_open_because_a_server_asks_for_it(
    server: TokenServer, log_in: Callable[[str, str], str]
) -> None:
    host = "registry.example.org"
    config = log_in(host, BASIC)
    challenge = f'Bearer realm="{server.realm}",scope="x"'

    assert Credentials(Web(host), host, "https", config).answer([challenge]) is None
    assert server.scopes == []


def test_a_server_without_a_list_says_so(
    server: TokenServer, log_in: Callable[[str, str], str]
) -> None:
    log_in(server.host, BASIC)

    assert error_of(OciRegistry(f"oci://{server.host}/modules").names).code == "cannot-list"


def test_a_web_server_is_no_registry(server: TokenServer) -> None:
    server.is_registry = False

    error = error_of(lambda: OciRegistry(f"oci://{server.host}/modules").index(CAT))

    assert error.code == "not-a-registry"
