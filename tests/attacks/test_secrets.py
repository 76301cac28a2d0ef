"""A password goes to the server that it is for, and to nobody whom this one names."""

from __future__ import annotations

import base64
import json
import stat
from typing import TYPE_CHECKING

import pytest
from tests.attacks.web_servers import serving

from modpm.core.errors import ModpmError
from modpm.core.formats.digest import digest_bytes
from modpm.registry.backends.oci.credentials import parse
from modpm.registry.backends.oci.repository import Repository
from modpm.registry.backends.oci.server import Endpoint, Server
from modpm.registry.backends.static import StaticRegistry
from modpm.registry.backends.web import Web

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.attacks.web_servers import Answer, Asked

BLOB = b"hello"
SECRET = "kept-to-ourselves"  # noqa: S105 -- what the tests look for
BASIC = "Basic " + base64.b64encode(f"reader:{SECRET}".encode()).decode()
TAGS = json.dumps({"token": "T", "name": "a/b", "tags": ["1.0.0"]}).encode()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a home whose `.netrc` has a password for every host."""
    netrc = tmp_path / ".netrc"
    netrc.write_text(f"default login me password {SECRET}\n", encoding="utf-8")
    netrc.chmod(stat.S_IRUSR | stat.S_IWUSR)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("NETRC", raising=False)
    monkeypatch.delenv("DOCKER_CONFIG", raising=False)
    return tmp_path


@pytest.fixture
def log_in(home: Path) -> Callable[[str], None]:
    def store(host: str) -> None:
        (home / ".docker").mkdir()
        auths = {host: {"auth": BASIC.removeprefix("Basic ")}}
        config = json.dumps({"auths": auths})
        (home / ".docker" / "config.json").write_text(config, encoding="utf-8")

    return store


def repository(port: int) -> Repository:
    return Repository(Server(Endpoint.of_environment(f"127.0.0.1:{port}")), "a/b")


def asks_for_a_password(asked: Asked) -> bool:
    return asked.authorization != BASIC


def refused(*challenges: str) -> Answer:
    return 401, [("WWW-Authenticate", challenge) for challenge in challenges], b"{}"


def test_a_password_does_not_follow_a_redirect(log_in: Callable[[str], None]) -> None:
    def lead(asked: Asked) -> Answer:
        if asks_for_a_password(asked):
            return refused('Basic realm="r"')
        return 307, [("Location", f"http://localhost:{store.port}/blob")], b""

    with serving(lambda _: (200, [], BLOB)) as store, serving(lead) as registry:
        log_in(f"127.0.0.1:{registry.port}")
        body = repository(registry.port).open_blob(digest_bytes(BLOB), 0)
        assert body is not None
        assert body.read() == BLOB

    assert BASIC in [asked.authorization for asked in registry.asked]
    assert [asked.authorization for asked in store.asked] == [None]


def test_netrc_is_for_nobody_whom_a_registry_names() -> None:
    def lead(_: Asked) -> Answer:
        return 307, [("Location", f"http://localhost:{store.port}/blob")], b""

    with serving(lambda _: (200, [], BLOB)) as store, serving(lead) as registry:
        body = repository(registry.port).open_blob(digest_bytes(BLOB), 0)
        assert body is not None
        body.close()
        with pytest.raises(ModpmError):
            StaticRegistry(f"http://127.0.0.1:{registry.port}").names()

    assert {asked.authorization for asked in [*store.asked, *registry.asked]} == {None}


def test_whom_we_are_sent_on_to_cannot_ask_for_the_password(log_in: Callable[[str], None]) -> None:
    def ask(_: Asked) -> Answer:
        realm = f"http://127.0.0.1:{thief.port}/token"
        return refused('Basic realm="r"', f'Bearer realm="{realm}",service="s",scope="x"')

    def lead(_: Asked) -> Answer:
        return 307, [("Location", f"http://127.0.0.1:{thief.port}/blob")], b""

    with serving(ask) as thief, serving(lead) as registry:
        log_in(f"127.0.0.1:{registry.port}")
        with pytest.raises(ModpmError) as caught:
            repository(registry.port).open_blob(digest_bytes(BLOB), 0)

    assert caught.value.code == "not-authorized"
    assert thief.asked
    assert {asked.authorization for asked in thief.asked} == {None}


def test_a_realm_in_the_open_on_another_server_gets_nothing(log_in: Callable[[str], None]) -> None:
    def ask(_: Asked) -> Answer:
        return refused(f'Bearer realm="http://localhost:{thief.port}/token",scope="x"')

    with serving(lambda _: (200, [], TAGS)) as thief, serving(ask) as registry:
        log_in(f"127.0.0.1:{registry.port}")
        with pytest.raises(ModpmError):
            repository(registry.port).tags()

    assert thief.asked == []


def test_a_token_is_not_asked_for_where_a_realm_sends_us_on(log_in: Callable[[str], None]) -> None:
    def ask(asked: Asked) -> Answer:
        if asked.path.startswith("/token"):
            return 302, [("Location", f"http://localhost:{thief.port}/token")], b""
        return refused(f'Bearer realm="http://{asked.host}/token",scope="x"')

    with serving(lambda _: (200, [], TAGS)) as thief, serving(ask) as registry:
        log_in(f"127.0.0.1:{registry.port}")
        with pytest.raises(ModpmError):
            repository(registry.port).tags()

    assert {asked.authorization for asked in thief.asked} <= {None}


def test_a_token_to_refresh_is_not_sent_on(home: Path) -> None:
    def ask(asked: Asked) -> Answer:
        if asked.path.startswith("/token"):
            return 307, [("Location", f"http://localhost:{thief.port}/token")], b""
        return refused(f'Bearer realm="http://{asked.host}/token",scope="x"')

    with serving(lambda _: (200, [], TAGS)) as thief, serving(ask) as registry:
        (home / ".docker").mkdir()
        auths = {f"127.0.0.1:{registry.port}": {"identitytoken": SECRET}}
        (home / ".docker" / "config.json").write_text(json.dumps({"auths": auths}))
        with pytest.raises(ModpmError):
            repository(registry.port).tags()

    assert any(SECRET.encode() in asked.content for asked in registry.asked)
    assert thief.asked == []


def test_a_server_in_the_open_elsewhere_names_no_server_of_tokens(
    log_in: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODPM_ALLOW_HTTP", "registry.example.org")
    log_in("registry.example.org")
    server = Server(Endpoint.of_environment("registry.example.org"))
    with serving(lambda _: (200, [], TAGS)) as thief:
        realm = f"https://127.0.0.1:{thief.port}/token"
        answer = server._credentials.answer([f'Bearer realm="{realm}",scope="x"'])

    assert server.scheme == "http"
    assert answer is None
    assert thief.asked == []


@pytest.mark.parametrize(
    "location", ["http://modules.example/a", "HTTP://modules.example/a", "ftp://modules.example/a"]
)
def test_nobody_leads_from_https_to_plain_text(location: str) -> None:
    web = Web("https://modules.example")

    with pytest.raises(ModpmError) as caught:
        web.next_url("https://modules.example/b", location)
    assert caught.value.code == "network-failed"


@pytest.mark.parametrize("are_two_headers", [False, True])
def test_the_first_challenge_that_can_be_answered_is(are_two_headers: bool) -> None:
    def ask(asked: Asked) -> Answer:
        if asked.path.startswith("/token") or asked.authorization == "Bearer T":
            return 200, [], TAGS
        bearer = f'Bearer realm="http://{asked.host}/token",service="s",scope="repository:a/b:pull"'
        both = ['Basic realm="r"', bearer]
        return refused(*both) if are_two_headers else refused(", ".join(both))

    with serving(ask) as registry:
        assert repository(registry.port).tags() == ["1.0.0"]


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ('Basic realm="a, Bearer b"', [("basic", {"realm": "a, Bearer b"})]),
        (r'Basic realm="a\"b"', [("basic", {"realm": 'a"b'})]),
        (
            'Negotiate, BEARER Realm="https://a/t" , scope=x',
            [("negotiate", {}), ("bearer", {"realm": "https://a/t", "scope": "x"})],
        ),
        ("", []),
        ('"', []),
    ],
)
def test_challenges_are_read_as_rfc_9110_says(
    header: str, found: list[tuple[str, dict[str, str]]]
) -> None:
    assert [(each.scheme, dict(each.parameters)) for each in parse(header)] == found
