"""What the environment or an address says of servers is used, or refused in our own words."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from tests.attacks.web_servers import serving

from modpm.core.errors import ModpmError
from modpm.registry.backends.oci.server import Endpoint, Server
from modpm.registry.backends.opening import open_backend
from modpm.registry.backends.web import NotEncryptedFault, Request

if TYPE_CHECKING:
    from pathlib import Path

    from tests.attacks.web_servers import Answer, Asked

NOBODY = "127.0.0.1:9"
REGISTRIES = (f"http://{NOBODY}/r", "https://localhost:9/r", f"oci://{NOBODY}/r", "hf://org")


def run(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `modpm` with these variables and none for proxies besides."""
    cleaned = {name: text for name, text in os.environ.items() if "proxy" not in name.lower()}
    keys = {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s", "AWS_REGION": "r"}
    own = {"MODPM_HOME": str(folder / "home"), "HF_HOME": str(folder / "hf")}
    return subprocess.run(
        [sys.executable, "-m", "modpm.cli", *arguments],
        cwd=folder,
        env={**cleaned, **keys, **own, "AWS_ENDPOINT_URL": f"http://{NOBODY}", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def code_of(process: subprocess.CompletedProcess[str]) -> str:
    assert "Traceback" not in process.stderr, process.stderr[-500:]
    assert process.returncode == 1
    code = json.loads(process.stdout)["error"]["code"]
    assert isinstance(code, str)
    return code


@pytest.mark.parametrize("registry", REGISTRIES)
@pytest.mark.parametrize(
    "proxy", ["socks5://127.0.0.1:9", "socks4://127.0.0.1:9", "ftp://127.0.0.1:9"]
)
def test_a_proxy_that_cannot_be_used_is_an_error_of_ours(
    tmp_path: Path, registry: str, proxy: str
) -> None:
    process = run(tmp_path, "install", "a/b", "--json", "--registry", registry, ALL_PROXY=proxy)

    assert code_of(process) == "invalid-environment"
    assert "proxies" in process.stdout


def test_a_proxy_that_an_object_store_cannot_use_is_an_error_of_ours(tmp_path: Path) -> None:
    for proxy in ("socks5://127.0.0.1:9", "socks4://127.0.0.1:9"):
        process = run(
            tmp_path, "install", "a/b", "--json", "--registry", "s3://b/r", ALL_PROXY=proxy
        )
        assert code_of(process) in {"network-failed", "invalid-environment"}


@pytest.mark.parametrize("registry", REGISTRIES[1:])
def test_certificates_that_are_not_there_are_an_error_of_ours(
    tmp_path: Path, registry: str
) -> None:
    process = run(
        tmp_path,
        *("install", "a/b", "--json", "--registry", registry),
        SSL_CERT_FILE=str(tmp_path / "nowhere.pem"),
    )

    assert code_of(process) == "invalid-environment"
    assert "SSL_CERT_FILE" in process.stdout


@pytest.mark.parametrize(
    ("registry", "variable"), [("s3://b/r", "AWS_ENDPOINT_URL"), ("hf://org", "HF_ENDPOINT")]
)
def test_an_endpoint_without_a_scheme_is_an_error_of_ours(
    tmp_path: Path, registry: str, variable: str
) -> None:
    asked = ("install", "a/b", "--json", "--registry", registry)
    process = run(tmp_path, *asked, **{variable: NOBODY})

    assert code_of(process) == "invalid-environment"
    assert variable in process.stdout


def test_plain_http_to_another_machine_has_to_be_allowed(tmp_path: Path) -> None:
    """The address is one of those that RFC 5737 keeps for examples: nobody answers there."""
    asked = ("install", "a/b", "--json", "--registry", "http://192.0.2.1:9/r")

    assert code_of(run(tmp_path, *asked)) == "insecure-http"
    assert code_of(run(tmp_path, *asked, "--allow-http")) == "network-failed"
    assert code_of(run(tmp_path, *asked, MODPM_ALLOW_HTTP="a, 192.0.2.1")) == "network-failed"
    for registry, variable in (("s3://b/r", "AWS_ENDPOINT_URL"), ("hf://org", "HF_ENDPOINT")):
        asked = ("install", "a/b", "--json", "--registry", registry)
        process = run(tmp_path, *asked, **{variable: "http://192.0.2.1:9"})
        assert code_of(process) == "insecure-http"


def test_a_redirect_does_not_lead_to_plain_http_elsewhere() -> None:
    def lead(_: Asked) -> Answer:
        return 302, [("Location", "http://192.0.2.1/r")], b""

    with serving(lead) as server, pytest.raises(ModpmError) as caught:
        open_backend(f"http://127.0.0.1:{server.port}").names()
    assert caught.value.code == "insecure-http"


def test_a_server_without_tls_is_asked_in_the_open_only_if_that_is_allowed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def answer(asked: Asked) -> Answer:
        return (200, [], b'{"tags": []}') if asked.path.startswith("/v2/") else (404, [], b"")

    with serving(answer) as running:
        monkeypatch.setattr("modpm.registry.backends.plain_http.is_expected", lambda _: False)
        server = Server(Endpoint.of_environment(f"127.0.0.1:{running.port}"))
        with pytest.raises(NotEncryptedFault):
            server.ask(Request("GET", "/v2/"), 200)
        assert running.asked == []
        monkeypatch.undo()
        server.ask(Request("GET", "/v2/"), 200).close()
        assert [asked.path for asked in running.asked] == ["/v2/"]


@pytest.mark.parametrize("host", ["docker.io", "index.docker.io"])
def test_docker_io_is_the_server_of_docker_hub(host: str, tmp_path: Path) -> None:
    auths = {"https://index.docker.io/v1/": {"auth": "bWU6c2VjcmV0"}}
    (tmp_path / "config.json").write_text(json.dumps({"auths": auths}), encoding="utf-8")
    server = Server(Endpoint.of_environment(host)._replace(docker_config=str(tmp_path)))

    assert server.url("/v2/") == "https://registry-1.docker.io/v2/"
    assert server._credentials.answer(["Basic"]) == {"Authorization": "Basic bWU6c2VjcmV0"}
