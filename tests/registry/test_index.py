from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from packaging.version import Version

from modpm.core.errors import ModpmError
from modpm.core.formats.manifest import FileRecord
from modpm.core.formats.names import ModuleName
from modpm.registry.index import Index, Release

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.registry.conftest import MakeDistribution

CAT = ModuleName("digits", "cat")
DIGEST = "sha256:" + "0" * 64


@pytest.fixture
def release(make_distribution: MakeDistribution) -> Release:
    manifest = make_distribution("digits/cat").manifest
    record = FileRecord(size_bytes=10, digest=DIGEST)
    return Release.of(manifest, record, "2025-01-31T12:00:00Z")


@pytest.fixture
def document(release: Release) -> dict[str, Any]:
    index = Index(name="digits/cat", tags={"stable": "1.0.0"}).with_release(release)
    decoded: dict[str, Any] = json.loads(index.to_bytes())
    return decoded


def read(document: object) -> Index:
    return Index.from_bytes(json.dumps(document).encode(), CAT, "index.json")


def test_reading_and_writing_are_inverse(document: dict[str, Any]) -> None:
    assert json.loads(read(document).to_bytes()) == document


def test_unknown_keys_survive(document: dict[str, Any]) -> None:
    document["later"] = {"key": [1, 2]}
    document["releases"][0]["later"] = True

    assert json.loads(read(document).to_bytes()) == document


def test_releases_are_listed_in_the_order_of_versions(release: Release) -> None:
    index = Index(name="digits/cat")
    for version in ("1.10.0", "1.9.0", "2.0rc1", "1.0.0"):
        index = index.with_release(replaced(release, version))

    assert [r.version for r in index.releases] == ["1.0.0", "1.9.0", "1.10.0", "2.0rc1"]


@pytest.mark.parametrize(
    ("listed", "newest"),
    [
        ("1.0.0 1.9.0 1.10.0", "1.10.0"),
        ("1.0.0 2.0rc1", "1.0.0"),
        ("1.0rc1 1.0rc2", "1.0rc2"),
        ("1.0.0 1.1.0!", "1.0.0"),
        ("1.0.0! 2.0rc1", "2.0rc1"),
        ("1.0.0! 2.0rc1!", None),
        ("", None),
    ],
)
def test_the_newest_is_not_yanked_and_a_pre_release_only_where_there_is_no_other(
    listed: str, newest: str | None, release: Release
) -> None:
    index = Index(name="digits/cat")
    for text in listed.split():
        one = replaced(release, text.rstrip("!"))
        yanked = "wrong labels" if text.endswith("!") else None
        index = index.with_release(msgspec.structs.replace(one, yanked=yanked))

    found = index.newest()

    assert (None if found is None else found.version) == newest


def test_equal_versions_are_one_release(document: dict[str, Any]) -> None:
    found = read(document).find(Version("1.0"))

    assert found is not None
    assert found.version == "1.0.0"


def replaced(release: Release, version: str) -> Release:
    document = json.loads(Index(name="digits/cat").with_release(release).to_bytes())
    document["releases"][0]["version"] = version
    return read(document).releases[0]


def set_release(key: str, value: object) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        document["releases"][0][key] = value

    return change


def set_index(key: str, value: object) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        document[key] = value

    return change


@pytest.mark.parametrize(
    "change",
    [
        set_index("name", "digits/dog"),
        set_index("name", "../cat"),
        set_index("releases", 3),
        set_index("tags", {"stable": "9.9"}),
    ],
)
def test_an_index_that_lies_is_refused(
    document: dict[str, Any], change: Callable[[dict[str, Any]], None]
) -> None:
    change(document)

    with pytest.raises(ModpmError) as caught:
        read(document)
    assert caught.value.code == "invalid-index"


@pytest.mark.parametrize(
    "change",
    [
        set_release("version", "one"),
        set_release("version", "1.0.0.RC1"),
        set_release("version", "../../etc"),
        set_release("version", "1" * 5000),
        set_release("version", 1),
        set_release("format_version", 2),
        set_release("format_version", True),
        set_release("kind", "ensemble"),
        set_release("kind", ["composition"]),
        set_release("kind", "composition"),
        set_release("digest", "sha256:0"),
        set_release("digest", "sha256:../../../../etc/passwd"),
        set_release("manifest_size_bytes", -1),
        set_release("files", {"../evil": {"size_bytes": 1, "digest": DIGEST}}),
        set_release("files", {"module.safetensors": {"size_bytes": -1, "digest": DIGEST}}),
        set_release("requires", ["not a requirement"]),
        set_release("published", "yesterday"),
        set_release("yanked", 3),
    ],
)
def test_a_release_that_lies_is_skipped_and_stays_and_hides_no_other(
    document: dict[str, Any], release: Release, change: Callable[[dict[str, Any]], None]
) -> None:
    document["releases"].append({**document["releases"][0], "version": "1.1.0"})
    change(document)
    raw = document["releases"][0]

    index = read(document)

    assert [one.version for one in index.releases] == ["1.1.0"]
    assert [one.raw for one in index.skipped] == [raw]
    later = json.loads(index.with_release(replaced(release, "2.0.0")).to_bytes())
    assert raw in later["releases"]
    assert later["tags"] == document["tags"]
    assert read(later).skipped == index.skipped


def test_what_could_not_be_used_is_not_written(release: Release) -> None:
    broken = msgspec.structs.replace(release, requires=["not a requirement"])

    with pytest.raises(ModpmError, match="not a requirement") as caught:
        Index(name="digits/cat").with_release(broken).to_bytes()
    assert caught.value.code == "invalid-index"


def test_a_skipped_version_is_listed_and_not_given_away(document: dict[str, Any]) -> None:
    document["releases"].append({"version": "2.0.0", "format_version": 2})
    index = read(document)

    for version in ("2.0.0", "2.0"):
        with pytest.raises(ModpmError, match=r"2\.0\.0 has format version 2") as caught:
            index.find(version)
        assert (caught.value.code, caught.value.hint) == ("skipped-release", "upgrade modpm")
    assert [one.version for one in index.entries] == ["1.0.0", Version("2.0.0")]


def test_a_version_that_is_listed_twice_is_refused(document: dict[str, Any]) -> None:
    twice = {**document["releases"][0], "version": "1.0"}
    document["releases"].append(twice)

    with pytest.raises(ModpmError, match="ascending"):
        read(document)


def test_an_index_of_a_later_format_is_refused_as_such() -> None:
    with pytest.raises(ModpmError) as caught:
        read({"format_version": 2, "modules": {}})

    assert caught.value.code == "unknown-format-version"


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b'{"name":1,"name":2}', b"[" * 10_000, b"\xff"])
def test_what_is_not_an_index_is_refused(data: bytes) -> None:
    with pytest.raises(ModpmError) as caught:
        Index.from_bytes(data, CAT, "index.json")

    assert caught.value.code in {"invalid-index", "invalid-json"}
