"""What is particular to registries on web servers."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from ipaddress import ip_address
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from tests.registry.backends.servers.faulty_proxy import Fault, FaultyProxy
from tests.registry.backends.servers.static_files import StaticFiles

from modpm.core.errors import ModpmError
from modpm.core.formats import canonical_json
from modpm.core.formats.names import ModuleName
from modpm.registry.backends.directory import DirectoryRegistry
from modpm.registry.backends.opening import locate
from modpm.registry.backends.protocol import ReleaseFile
from modpm.registry.backends.static import StaticRegistry
from modpm.registry.backends.web import Web
from modpm.registry.installing.installation import install

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.registry.conftest import MakeDistribution

    from modpm.core.formats.distribution import Distribution

CAT = ModuleName("digits", "cat")


@pytest.fixture
def cat(registry: Path, make_distribution: MakeDistribution) -> Distribution:
    distribution = make_distribution("digits/cat")
    DirectoryRegistry(registry).publish([distribution])
    return distribution


@pytest.fixture
def serve() -> Iterator[Callable[..., str]]:
    servers: list[StaticFiles] = []

    def start(folder: Path, *, has_ranges: bool = True) -> str:
        server = StaticFiles(folder, has_ranges=has_ranges)
        server.start()
        servers.append(server)
        return f"http://127.0.0.1:{server.port}"

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def redirect() -> Iterator[Callable[[str], str]]:
    """Give a server that sends every request on to the same path under an address."""
    servers: list[tuple[HTTPServer, threading.Thread]] = []

    def start(target: str) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(302)
                self.send_header("Location", target.replace("{path}", self.path))
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name
                pass

        server = HTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        servers.append((server, thread))
        return f"http://127.0.0.1:{server.server_address[1]}"

    yield start
    for server, thread in servers:
        server.shutdown()
        thread.join()
        server.server_close()


def self_signed(folder: Path) -> Path:
    """Return a file with a key and a certificate that it has signed itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, encryption_algorithm=NoEncryption()
    )
    path = folder / "certificate.pem"
    path.write_bytes(private + certificate.public_bytes(Encoding.PEM))
    return path


def code_of(work: Callable[[], object]) -> str:
    with pytest.raises(ModpmError) as caught:
        work()
    return caught.value.code


def test_a_server_without_ranges_is_read_from_any_byte(
    registry: Path, cat: Distribution, serve: Callable[..., str]
) -> None:
    reader = StaticRegistry(serve(registry, has_ranges=False))
    whole = (cat.folder / "module.safetensors").read_bytes()

    for offset in (0, 1, len(whole) - 1, len(whole)):
        with reader.open_file(ReleaseFile(CAT, "1.0.0", "module.safetensors"), offset) as file:
            assert file.read() == whole[offset:]


def test_a_registry_without_a_catalogue_can_be_read_but_not_listed(
    registry: Path, cat: Distribution, serve: Callable[..., str]
) -> None:
    (registry / "namespaces.json").unlink()
    reader = StaticRegistry(serve(registry))

    index = reader.index(CAT)
    assert index is not None
    assert index.releases[0].digest == cat.digest
    assert code_of(reader.names) == "cannot-list"


@pytest.mark.usefixtures("cat")
def test_a_mistyped_name_is_unknown_also_where_nothing_can_be_listed(
    registry: Path, serve: Callable[..., str], project: Path
) -> None:
    (registry / "namespaces.json").unlink()

    with pytest.raises(ModpmError) as caught:
        install(["digits/cta"], project, serve(registry))

    assert (caught.value.code, caught.value.why) == ("unknown-module", None)


def test_what_is_no_name_in_a_list_is_passed_over(
    registry: Path, serve: Callable[..., str], make_distribution: MakeDistribution
) -> None:
    DirectoryRegistry(registry).publish([make_distribution("digits/cat")])
    path = registry / "digits" / "catalogue.json"
    modules = json.loads(path.read_bytes())["modules"]
    modules |= dict.fromkeys(["../etc", "Cat", ""], modules["cat"])
    path.write_bytes(canonical_json.encode({"format_version": 1, "modules": modules}))

    assert StaticRegistry(serve(registry)).names() == [CAT]


@pytest.mark.parametrize("document", [b"[]", b"{}", b'{"namespaces":["digits"]}'])
def test_a_list_that_is_none_is_an_error(
    registry: Path, cat: Distribution, serve: Callable[..., str], document: bytes
) -> None:
    assert cat.manifest.name == "digits/cat"
    (registry / "namespaces.json").write_bytes(document)

    assert code_of(StaticRegistry(serve(registry)).names) == "invalid-catalogue"


def test_a_server_without_a_registry_is_explained(
    tmp_path: Path, serve: Callable[..., str]
) -> None:
    reader = StaticRegistry(serve(tmp_path))

    assert code_of(lambda: reader.index(CAT)) == "registry-missing"
    assert code_of(reader.names) == "registry-missing"


def test_a_registry_of_a_later_layout_is_refused(registry: Path, serve: Callable[..., str]) -> None:
    registry.mkdir()
    (registry / "registry.json").write_bytes(b'{"format_version":2}')

    assert code_of(lambda: StaticRegistry(serve(registry)).index(CAT)) == "not-a-registry"


def test_a_document_without_an_end_is_not_read_to_it(
    registry: Path, cat: Distribution, serve: Callable[..., str]
) -> None:
    assert cat.manifest.name == "digits/cat"
    path = registry / "digits" / "cat" / "index.json"
    path.write_bytes(b" " * (canonical_json.MAX_SIZE_BYTES + 1))

    assert code_of(lambda: StaticRegistry(serve(registry)).index(CAT)) == "too-large"


def test_a_redirect_to_another_host_is_followed(
    registry: Path, cat: Distribution, serve: Callable[..., str], redirect: Callable[[str], str]
) -> None:
    reader = StaticRegistry(redirect(serve(registry) + "{path}"))

    index = reader.index(CAT)
    assert index is not None
    assert index.releases[0].digest == cat.digest


@pytest.mark.parametrize(
    "target", ["file:///etc/passwd", "ftp://127.0.0.1{path}", "{path}", "http://[", "https://"]
)
def test_a_redirect_to_nowhere_good_is_refused(redirect: Callable[[str], str], target: str) -> None:
    reader = StaticRegistry(redirect(target))

    assert code_of(lambda: reader.index(CAT)) == "network-failed"


def test_a_server_does_not_lead_from_https_to_http() -> None:
    server = Web("https://modules.example")

    assert server.next_url("https://modules.example/a", "/b") == "https://modules.example/b"
    assert server.next_url("http://modules.example/a", "https://b/c") == "https://b/c"
    for target in ("http://modules.example/a", "file:///etc/passwd"):
        lead = partial(server.next_url, "https://modules.example/a", target)
        assert code_of(lead) == "network-failed"


def test_a_certificate_that_nobody_vouches_for_is_refused(
    registry: Path, cat: Distribution, tmp_path: Path
) -> None:
    assert cat.manifest.name == "digits/cat"
    server = StaticFiles(registry, certificate=self_signed(tmp_path))
    server.start()
    try:
        reader = StaticRegistry(f"https://127.0.0.1:{server.port}")
        with pytest.raises(ModpmError) as caught:
            reader.index(CAT)
    finally:
        server.stop()
    assert caught.value.code == "network-failed"
    assert "certificate" in str(caught.value).lower()


@pytest.mark.parametrize("status", [401, 403])
def test_a_server_that_wants_to_know_who_asks_is_explained(status: int) -> None:
    proxy = FaultyProxy(port=0)
    proxy.start()
    proxy.inflict(Fault("status", status=status))
    try:
        reader = StaticRegistry(f"http://127.0.0.1:{proxy.port}")
        assert code_of(lambda: reader.index(CAT)) == "not-authorized"
    finally:
        proxy.stop()


def test_what_is_no_address_is_no_registry(tmp_path: Path) -> None:
    assert code_of(lambda: locate("https://[", tmp_path)) == "unknown-registry-kind"


@pytest.mark.parametrize("scheme", ["https", "http", "s3", "oci", "hf"])
def test_a_password_in_an_address_is_refused_and_not_shown(scheme: str, tmp_path: Path) -> None:
    with pytest.raises(ModpmError) as caught:
        locate(f"{scheme}://user:secret-word@modules.example", tmp_path)

    assert caught.value.code == "usage"
    assert "secret-word" not in str(caught.value)
