"""What is particular to buckets: how the files lie there, and large ones."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from obstore.store import S3Store
from tests.registry.backends.kinds.object_store import ObjectStore
from tests.registry.backends.servers.static_files import StaticFiles

from modpm.core.errors import ModpmError
from modpm.core.formats.digest import digest_bytes
from modpm.core.formats.manifest import FileRecord
from modpm.core.formats.names import ModuleName
from modpm.registry.backends import retrying
from modpm.registry.backends.bucket import PART_BYTES, Bucket
from modpm.registry.backends.directory import DirectoryRegistry
from modpm.registry.backends.object_store import ObjectStoreRegistry
from modpm.registry.backends.protocol import ReleaseFile
from modpm.registry.backends.static import StaticRegistry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.registry.backends.conftest import StartServer
    from tests.registry.conftest import MakeDistribution

    from modpm.core.formats.distribution import Distribution

CAT = ModuleName("digits", "cat")


@pytest.fixture
def store(start_server: StartServer, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    kind = start_server(ObjectStore)
    assert isinstance(kind, ObjectStore)
    kind.renew()
    for name, value in kind.environment.items():
        monkeypatch.setenv(name, value)
    return kind


@pytest.fixture
def bucket(store: ObjectStore) -> Bucket:
    return Bucket(store.url)


def objects(store: ObjectStore) -> dict[str, bytes]:
    """Return everything that lies there."""
    import obstore  # noqa: PLC0415 - it may not be installed
    from obstore.store import from_url  # noqa: PLC0415 -- an extra

    client = from_url(store.url, client_options={"allow_http": True})
    metas = [meta for page in obstore.list(client) for meta in page]
    return {meta["path"]: bytes(obstore.get(client, meta["path"]).bytes()) for meta in metas}


def copy_to_folder(store: ObjectStore, folder: Path) -> None:
    for path, data in objects(store).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)


def upload_folder(folder: Path, bucket: Bucket) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            bucket.replace(path.relative_to(folder).as_posix(), path.read_bytes(), None)


def test_files_are_named_by_their_digests(
    store: ObjectStore, make_distribution: MakeDistribution
) -> None:
    cat = make_distribution("digits/cat")
    store.again().publish([cat])

    files = {path.name: path.read_bytes() for path in cat.folder.iterdir()}
    by_digest = {
        f"files.sha256/{digest_bytes(data).removeprefix('sha256:')}": data
        for data in files.values()
    }
    there = objects(store)
    assert set(there) == set(by_digest) | {
        "registry.json",
        "namespaces.json",
        "digits/catalogue.json",
        "digits/cat/index.json",
    }
    assert {path: there[path] for path in by_digest} == by_digest


def test_files_that_releases_share_are_kept_once(
    store: ObjectStore, make_distribution: MakeDistribution
) -> None:
    store.again().publish([make_distribution("digits/cat")])
    before = set(objects(store))
    store.again().publish([make_distribution("digits/cat", "1.0.1")])

    (manifest,) = set(objects(store)) - before
    assert manifest.startswith("files.sha256/")


def test_a_file_that_a_crash_left_is_used(
    store: ObjectStore, bucket: Bucket, make_distribution: MakeDistribution
) -> None:
    cat = make_distribution("digits/cat")
    store.again().publish([make_distribution("digits/dog")])
    digest = cat.digest.removeprefix("sha256:")
    bucket.replace(f"files.sha256/{digest}", (cat.folder / "manifest.json").read_bytes(), None)

    (published,) = store.again().publish([cat])
    assert published.is_new


def test_an_object_of_another_size_is_replaced(
    store: ObjectStore, bucket: Bucket, make_distribution: MakeDistribution
) -> None:
    cat = make_distribution("digits/cat")
    store.again().publish([make_distribution("digits/dog")])
    digest = cat.digest.removeprefix("sha256:")
    bucket.replace(f"files.sha256/{digest}", b"half of it", None)

    store.again().publish([cat])
    assert objects(store)[f"files.sha256/{digest}"] == (cat.folder / "manifest.json").read_bytes()


@pytest.fixture
def large(tmp_path: Path) -> tuple[Path, FileRecord]:
    data = os.urandom(PART_BYTES * 2 + 12345)
    (tmp_path / "large").write_bytes(data)
    return tmp_path / "large", FileRecord(size_bytes=len(data), digest=digest_bytes(data))


def test_a_large_file_is_uploaded_in_parts_and_read_from_any_byte(
    bucket: Bucket, large: tuple[Path, FileRecord]
) -> None:
    path, record = large
    bucket.upload("large", path, record)

    data = path.read_bytes()
    for offset in (0, PART_BYTES - 1, len(data) - 3):
        assert b"".join(bucket.pieces("large", offset)) == data[offset:]


@pytest.mark.parametrize("change", ["shorter", "other bytes"])
def test_a_large_file_that_is_not_what_was_said_is_not_there(
    bucket: Bucket, large: tuple[Path, FileRecord], change: str
) -> None:
    path, record = large
    data = path.read_bytes()
    path.write_bytes(data[:-1] if change == "shorter" else data[:-1] + bytes([data[-1] ^ 1]))

    with pytest.raises(ModpmError) as caught:
        bucket.upload("large", path, record)
    assert caught.value.code == ("truncated" if change == "shorter" else "wrong-digest")
    with pytest.raises(FileNotFoundError):
        bucket.pieces("large", 0)


def test_a_document_is_replaced_only_by_who_has_seen_its_last_state(bucket: Bucket) -> None:
    assert bucket.replace("document", b"1", None)
    assert not bucket.replace("document", b"2", None)
    seen = bucket.document("document")
    assert bucket.replace("document", b"2", seen)
    assert not bucket.replace("document", b"3", seen)
    now = bucket.document("document")
    assert now is not None
    assert now.data == b"2"


def test_a_bucket_that_is_missing_is_a_registry_that_is_missing(store: ObjectStore) -> None:
    for work in (
        ObjectStoreRegistry("s3://no-such-bucket/modules").names,
        lambda: ObjectStoreRegistry("s3://no-such-bucket/modules").index(CAT),
        store.again().names,
    ):
        with pytest.raises(ModpmError) as caught:
            work()
        assert caught.value.code == "registry-missing"


def test_a_bucket_that_is_missing_is_told_whatever_is_asked_of_it(
    store: ObjectStore,
) -> None:
    assert store.port > 0
    missing = Bucket("s3://no-such-bucket/modules")

    for work in (
        lambda: missing.document("registry.json"),
        lambda: missing.folder(None),
        lambda: missing.pieces("file", 0),
    ):
        with pytest.raises(ModpmError) as caught:
            work()
        assert caught.value.code == "registry-missing"


def test_a_bucket_of_other_things_is_not_made_a_registry(
    store: ObjectStore, bucket: Bucket, make_distribution: MakeDistribution
) -> None:
    bucket.replace("photos/cat.png", b"", None)

    with pytest.raises(ModpmError) as caught:
        store.again().publish([make_distribution("digits/cat")])
    assert caught.value.code == "not-a-registry"
    assert set(objects(store)) == {"photos/cat.png"}


def test_a_later_layout_is_refused(bucket: Bucket, store: ObjectStore) -> None:
    bucket.replace("registry.json", b'{"format_version":2}', None)

    with pytest.raises(ModpmError) as caught:
        store.again().names()
    assert caught.value.code == "not-a-registry"


@pytest.mark.parametrize(
    ("endpoint", "is_allowed"),
    [("http://127.0.0.1:9", True), ("https://127.0.0.1:9", False), (None, False)],
)
def test_plain_http_is_only_for_endpoints_that_say_so(
    monkeypatch: pytest.MonkeyPatch, endpoint: str | None, *, is_allowed: bool
) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    if endpoint is not None:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)

    store = Bucket("s3://modules")._store
    assert isinstance(store, S3Store)
    options = store.client_options
    assert options is not None
    assert str(options["allow_http"]).lower() == str(is_allowed).lower()


def test_credentials_that_are_not_there_are_asked_for(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setattr(retrying, "TIMEOUT_SECONDS", 0.3)

    with pytest.raises(ModpmError) as caught:
        ObjectStoreRegistry(store.url).names()
    assert caught.value.code == "not-authorized"


def test_a_store_of_azure_asks_for_the_account(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME", raising=False)

    with pytest.raises(ModpmError) as caught:
        Bucket("az://modules/cats")
    assert caught.value.code == "not-authorized"
    assert "account" in str(caught.value).lower()


@pytest.fixture
def published(store: ObjectStore, make_distribution: MakeDistribution) -> list[Distribution]:
    distributions = [make_distribution("digits/cat"), make_distribution("cifar10/dog")]
    store.again().publish(distributions)
    return distributions


def check_reads(backend: DirectoryRegistry | StaticRegistry, expected: list[Distribution]) -> None:
    assert {str(n) for n in backend.names()} == {d.manifest.name for d in expected}
    for distribution in expected:
        for path in distribution.folder.iterdir():
            module = ModuleName.parse(distribution.manifest.name)
            for offset in (0, 7):
                with backend.open_file(ReleaseFile(module, "1.0.0", path.name), offset) as file:
                    assert file.read() == path.read_bytes()[offset:]


def test_a_copy_of_a_bucket_in_a_folder_is_a_registry(
    store: ObjectStore,
    published: list[Distribution],
    make_distribution: MakeDistribution,
    registry: Path,
) -> None:
    copy_to_folder(store, registry)
    check_reads(DirectoryRegistry(registry), published)

    DirectoryRegistry(registry).publish([make_distribution("digits/dog")])
    check_reads(DirectoryRegistry(registry), [*published, make_distribution("digits/dog")])


@pytest.fixture
def web_server(registry: Path) -> Iterator[StaticFiles]:
    server = StaticFiles(registry)
    server.start()
    yield server
    server.stop()


def test_a_copy_of_a_bucket_on_a_web_server_is_a_registry(
    store: ObjectStore, published: list[Distribution], registry: Path, web_server: StaticFiles
) -> None:
    copy_to_folder(store, registry)

    check_reads(StaticRegistry(f"http://127.0.0.1:{web_server.port}"), published)


def test_a_copy_of_a_folder_in_a_bucket_is_a_registry(
    store: ObjectStore, bucket: Bucket, make_distribution: MakeDistribution, registry: Path
) -> None:
    cat, dog = make_distribution("digits/cat"), make_distribution("digits/dog")
    DirectoryRegistry(registry).publish([cat])
    upload_folder(registry, bucket)

    store.again().publish([dog])

    for distribution in (cat, dog):
        module = ModuleName.parse(distribution.manifest.name)
        with store.again().open_file(ReleaseFile(module, "1.0.0", "manifest.json")) as file:
            assert file.read() == (distribution.folder / "manifest.json").read_bytes()
