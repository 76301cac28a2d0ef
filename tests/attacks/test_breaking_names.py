"""Nobody can make a name, or a registry, unusable for others."""

from __future__ import annotations

import hashlib
import http.server
import threading
from typing import TYPE_CHECKING

import pytest

from modpm.core.errors import ModpmError
from modpm.core.formats import canonical_json
from modpm.core.formats.names import ModuleName
from modpm.registry.backends.directory import DirectoryRegistry
from modpm.registry.backends.opening import locate, open_backend
from modpm.registry.publication.changing import yank
from modpm.registry.publication.publishing import publish

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.registry.conftest import MakeDistribution, Put

SEVEN = ModuleName("digits", "7")


def test_a_release_with_which_the_index_could_not_be_read_is_refused(
    tmp_path: Path, put: Put, make_distribution: MakeDistribution, monkeypatch: pytest.MonkeyPatch
) -> None:
    for minor in range(6):
        put("digits/7", f"1.{minor}.0")
    index = tmp_path / "registry" / "digits" / "7" / "index.json"
    before = index.read_bytes()
    # So that no test need write four million bytes: the limit is what is there and a little.
    monkeypatch.setattr(canonical_json, "MAX_SIZE_BYTES", len(before) + 500)
    new = make_distribution("digits/7", "2.0.0", summary="words " * 80)
    with pytest.raises(ModpmError) as caught:
        publish([new.folder], tmp_path / "registry")
    assert caught.value.code == "index-full"
    assert index.read_bytes() == before
    assert DirectoryRegistry(tmp_path / "registry").index(SEVEN) is not None
    assert not (index.parent / "2.0.0").exists()


def test_a_reason_with_which_the_index_could_not_be_read_is_refused(
    tmp_path: Path, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    put("digits/7")
    index = tmp_path / "registry" / "digits" / "7" / "index.json"
    before = index.read_bytes()
    monkeypatch.setattr(canonical_json, "MAX_SIZE_BYTES", len(before) + 100)
    with pytest.raises(ModpmError) as caught:
        yank("digits/7==1.0.0", "because " * 40, tmp_path / "registry")
    assert caught.value.code == "index-full"
    assert index.read_bytes() == before


class _ForgetfulStore(http.server.BaseHTTPRequestHandler):
    """An object store that takes every write, whatever its condition."""

    held: dict[str, bytes]

    def do_PUT(self) -> None:
        data = self.rfile.read(int(self.headers["Content-Length"]))
        self.held[self.path.partition("?")[0]] = data
        self._answer(200, b"", data)

    def do_GET(self) -> None:
        if "list-type" in self.path:
            empty = b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"
            self._answer(200, empty, empty)
            return
        data = self.held.get(self.path.partition("?")[0])
        absent = b"<Error><Code>NoSuchKey</Code></Error>"
        self._answer(404, absent, absent) if data is None else self._answer(200, data, data)

    do_HEAD = do_GET  # noqa: N815 -- http.server's name

    def log_message(self, *_arguments: object) -> None:
        pass

    def _answer(self, status: int, body: bytes, content: bytes) -> None:
        self.send_response(status)
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()[:32]}"')
        self.send_header("Last-Modified", "Mon, 01 Jan 2024 00:00:00 GMT")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


@pytest.fixture
def forgetful(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, bytes]]:
    """Start a store that ignores conditions, and give what it holds."""
    held: dict[str, bytes] = {}
    handler = type("Handler", (_ForgetfulStore,), {"held": held})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    yield held
    server.shutdown()
    server.server_close()


def test_a_store_that_ignores_conditions_is_refused_before_anything_is_uploaded(
    forgetful: dict[str, bytes], make_distribution: MakeDistribution
) -> None:
    with pytest.raises(ModpmError) as caught:
        publish([make_distribution("digits/7").folder], "s3://bucket/prefix")
    assert caught.value.code == "no-conditional-writes"
    assert [path.rpartition("/")[2] for path in forgetful] == ["registry.json"]


@pytest.mark.parametrize(
    "address", ["s3:/bucket/p", "hf:org", "oci:localhost:5000/x", "file:/tmp/r", "https:/host/r"]
)
def test_an_address_that_looks_like_a_scheme_is_no_folder(
    tmp_path: Path,
    make_distribution: MakeDistribution,
    monkeypatch: pytest.MonkeyPatch,
    address: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = make_distribution("digits/7").folder
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(ModpmError) as caught:
        publish([folder], address)
    assert caught.value.code == "unknown-registry-kind"
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_folder_with_a_colon_in_its_name_is_one_when_it_says_so(tmp_path: Path) -> None:
    assert locate("./s3:data", tmp_path) == str(tmp_path / "s3:data")
    assert locate("C:/registry", tmp_path).endswith("C:/registry")  # a drive, where there are any


def test_another_package_can_bring_a_kind_of_registry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "site"
    (site / "shelf-1.0.dist-info").mkdir(parents=True)
    (site / "shelf.py").write_text(
        "class Shelf:\n    def __init__(self, location):\n        self.location = location\n"
    )
    information = site / "shelf-1.0.dist-info"
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: shelf\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(
        "[modpm.backends]\nshelf = shelf:Shelf\nbroken = shelf:Nothing\n"
    )
    monkeypatch.syspath_prepend(site)
    assert open_backend(locate("shelf://library/3", tmp_path)).location == "shelf://library/3"
    with pytest.raises(ModpmError, match="cannot be used"):
        open_backend(locate("broken://library", tmp_path))
    with pytest.raises(ModpmError, match="not a kind of registry"):
        locate("unheard://of", tmp_path)
