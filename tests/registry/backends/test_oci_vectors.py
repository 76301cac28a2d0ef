"""The golden vectors of registries of OCI artifacts (`specs/oci.md`)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from modpm.core.errors import ModpmError
from modpm.core.formats.digest import digest_bytes
from modpm.core.formats.manifest import FileRecord, Manifest
from modpm.core.formats.names import ModuleName
from modpm.registry.backends.oci import naming
from modpm.registry.backends.oci.modelpack import Artifact, pack, record, unpack
from modpm.registry.backends.oci.registry import OciRegistry, _read_index
from modpm.registry.index import Release

VECTORS = Path(__file__).parents[3] / "specs" / "vectors"
OCI = VECTORS / "oci"
NAMING: dict[str, dict[str, list[dict[str, str]]]] = json.loads((OCI / "naming.json").read_bytes())
INVALID: dict[str, dict[str, str]] = json.loads((OCI / "expect.json").read_bytes())
LISTINGS: list[dict[str, Any]] = json.loads((OCI / "listings.json").read_bytes())


def names(folder: str) -> list[str]:
    found = sorted(path.name for path in (OCI / folder).iterdir())
    assert found
    return found


def unpacked(name: str) -> Artifact | None:
    return unpack((OCI / name).read_bytes(), name)


@pytest.fixture(scope="module")
def manifest() -> bytes:
    return (VECTORS / "distribution" / "digits-7" / "manifest.json").read_bytes()


def test_the_golden_release_is_packed_to_the_golden_bytes(manifest: bytes) -> None:
    known = Manifest.from_bytes(manifest)
    file = FileRecord(size_bytes=len(manifest), digest=digest_bytes(manifest))

    artifact, config = pack(known, Release.of(known, file, "2026-01-01T00:00:00Z"))

    assert artifact.data == (OCI / "valid" / "digits-7.json").read_bytes()
    assert config == (OCI / "config.json").read_bytes()


@pytest.mark.parametrize("name", names("valid"))
def test_golden_manifests_of_releases_are_read(manifest: bytes, name: str) -> None:
    artifact = unpacked(f"valid/{name}")

    assert artifact is not None
    assert artifact.release.version == "1.0.0"
    assert artifact.release.digest == digest_bytes(manifest)
    assert artifact.digest == digest_bytes((OCI / "valid" / name).read_bytes())


def test_golden_bad_manifests_are_all_known() -> None:
    assert sorted(INVALID) == names("invalid")


@pytest.mark.parametrize("name", INVALID)
def test_golden_bad_manifests_are_refused(name: str) -> None:
    with pytest.raises(ModpmError) as caught:
        unpacked(f"invalid/{name}")
    assert caught.value.code == INVALID[name]["code"]


@pytest.mark.parametrize("name", names("foreign"))
def test_golden_manifests_of_others_are_no_releases(name: str) -> None:
    assert unpacked(f"foreign/{name}") is None


@pytest.mark.parametrize("case", LISTINGS, ids=[case["what"] for case in LISTINGS])
def test_golden_lists_of_tags_mean_what_they_say(case: dict[str, Any]) -> None:
    data = {tag: (OCI / name).read_bytes() for tag, name in case["tags"].items()}

    index = _read_index(ModuleName("digits", "7"), data, "oci://here")

    found = {release.version: replace(release, yanked=None) for release in index.releases}
    artifacts = {version: unpacked(name) for version, name in case["releases"].items()}
    assert found == {version: one.release for version, one in artifacts.items() if one is not None}
    assert found.keys() == artifacts.keys()
    assert index.tags == case["module_tags"]
    yanked = {release.version: release.yanked for release in index.releases}
    assert {v: reason for v, reason in yanked.items() if reason is not None} == case["yanked"]


@pytest.mark.parametrize("case", NAMING["versions"]["valid"], ids=lambda case: case["version"])
def test_golden_versions_and_their_oci_tags_name_each_other(case: dict[str, str]) -> None:
    version = case["version"]

    assert naming.tag_of_version(version) == case["tag"]
    assert naming.version_of_tag(case["tag"]) == version
    assert naming.claim_key(version) == case["claim"]
    assert naming.yank_tag(version) == case["yank"]


@pytest.mark.parametrize("case", NAMING["versions"]["invalid"], ids=lambda case: case["tag"])
def test_golden_other_oci_tags_are_no_versions(case: dict[str, str]) -> None:
    assert naming.version_of_tag(case["tag"]) is None


def test_golden_tags_of_modules_are_told_from_others() -> None:
    tags = NAMING["tags"]

    assert [c for c in tags["valid"] if not naming.is_module_tag(c["tag"])] == []
    assert [c for c in tags["invalid"] if naming.is_module_tag(c["tag"])] == []


@pytest.mark.parametrize("case", NAMING["addresses"]["valid"], ids=lambda case: case["url"])
def test_golden_addresses_are_taken(case: dict[str, str]) -> None:
    assert OciRegistry(case["url"]).location == case["location"]


@pytest.mark.parametrize("case", NAMING["addresses"]["invalid"], ids=lambda case: case["url"])
def test_golden_bad_addresses_are_refused(case: dict[str, str]) -> None:
    with pytest.raises(ModpmError) as caught:
        OciRegistry(case["url"])
    assert caught.value.code == case["code"]


@pytest.mark.parametrize("case", NAMING["records"]["valid"])
def test_golden_records_are_written_alike(case: dict[str, Any]) -> None:
    assert record(case["annotations"]).decode() == case["document"]


def test_releases_that_are_skipped_are_in_the_order_of_their_versions() -> None:
    release = json.loads((OCI / "valid" / "digits-7.json").read_bytes())
    told = json.loads(release["annotations"]["modpm.release"])
    newer = json.dumps({**told, "format_version": 2})
    release["annotations"]["modpm.release"] = newer
    data = {tag: json.dumps({**release, "tag": tag}).encode() for tag in ("1.10.0", "1.9.0")}

    index = _read_index(ModuleName("digits", "7"), data, "oci://here")

    assert [one.text for one in index.skipped] == ["1.9.0", "1.10.0"]
    index.to_bytes()
