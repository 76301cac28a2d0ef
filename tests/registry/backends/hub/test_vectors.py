"""The golden vectors of registries on the Hub (`specs/hub.md`)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from tests.registry.backends.hub_server import Blob, Commit, HubServer, Repository

from modpm.core.errors import ModpmError
from modpm.core.formats.distribution import read_distribution
from modpm.core.formats.names import ModuleName
from modpm.registry.backends.hub.naming import module_of, owner_of, repository_of, tag_of
from modpm.registry.index import Index

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from modpm.registry.backends.hub.registry import HubRegistry

VECTORS = Path(__file__).parents[4] / "specs" / "vectors"
NAMING: dict[str, dict[str, list[dict[str, str]]]] = json.loads(
    (VECTORS / "hub" / "naming.json").read_bytes()
)
STATES: dict[str, Any] = json.loads((VECTORS / "hub" / "states.json").read_bytes())
DISTRIBUTION = VECTORS / "distribution" / "digits-7"


def sentence(case: Mapping[str, Any]) -> str:
    return str(case["what"])


WORK: dict[str, Callable[[HubRegistry, ModuleName], object]] = {
    "index": lambda registry, module: registry.index(module),
    "revision": lambda registry, module: registry.revision(module, "1.0.0"),
    "publish": lambda registry, _: registry.publish([read_distribution(DISTRIBUTION)]),
}


def content(source: Mapping[str, str]) -> bytes:
    return (VECTORS / source["file"]).read_bytes() if "file" in source else source["text"].encode()


def commit(files: Mapping[str, Mapping[str, str]], summary: str) -> Commit:
    blobs = {
        name: Blob(content(source), is_lfs=name.endswith(".safetensors"))
        for name, source in files.items()
    }
    return Commit(None, summary, blobs)


def put(hub: HubServer, repositories: Mapping[str, Mapping[str, Any]]) -> None:
    """Let a server have repositories: what `main` and each tag names."""
    for name, revisions in repositories.items():
        repository = Repository(name, is_private=False)
        for revision, files in revisions.items():
            oid = repository.add("main", commit(files, revision))
            if revision != "main":
                repository.tags[revision] = oid
        repository.add("main", commit(revisions["main"], "main"))
        for kept in repository.commits.values():
            repository.lfs.update({b.sha256: b.content for b in kept.files.values() if b.is_lfs})
        hub.repositories[name] = repository


@pytest.mark.parametrize("case", STATES["valid"], ids=sentence)
def test_golden_repositories_are_read(
    hub: HubServer, registry_of_acme: HubRegistry, case: dict[str, Any]
) -> None:
    put(hub, case["repositories"])

    assert [str(name) for name in registry_of_acme.names()] == case["modules"]
    for name, versions in case["releases"].items():
        module = ModuleName.parse(name)
        index = registry_of_acme.index(module)
        assert index is not None
        assert [release.version for release in index.releases] == versions
        for version in versions:
            revision = registry_of_acme.revision(module, version)
            assert revision == hub.repositories[f"acme/{module.namespace}.{module.name}"].resolve(
                tag_of(version)
            )


@pytest.mark.parametrize("case", STATES["invalid"], ids=sentence)
def test_golden_bad_repositories_are_refused(
    hub: HubServer, registry_of_acme: HubRegistry, case: dict[str, Any]
) -> None:
    put(hub, case["repositories"])
    module = ModuleName.parse(case.get("module", "digits/7"))

    with pytest.raises(ModpmError) as caught:
        WORK[case["read"]](registry_of_acme, module)

    assert caught.value.code == case["code"]


def test_the_golden_release_is_written_as_the_golden_repository(
    hub: HubServer, registry_of_acme: HubRegistry
) -> None:
    written = STATES["written"]
    registry_of_acme.publish([read_distribution(VECTORS / written["distribution"])])

    repository = hub.repositories[written["repository"]]
    assert set(repository.branches) == {"main"}
    assert set(repository.tags) == set(written["tags"])
    for tag, files in written["tags"].items():
        assert_files(repository.commits[repository.tags[tag]], files)
    assert_files(repository.commits[repository.branches["main"]], written["main"])


def assert_files(found: Commit, files: Mapping[str, Mapping[str, str]]) -> None:
    """Check that a commit has files, and nothing else but what the Hub keeps for itself."""
    assert found.files.keys() - {".gitattributes"} == files.keys()
    for name, source in files.items():
        data = found.files[name].content
        if name == "index.json":
            data = published_when_the_golden_one_was(data)
        assert data == content(source), name


def published_when_the_golden_one_was(data: bytes) -> bytes:
    index = Index.from_bytes(data, ModuleName("digits", "7"), "index.json")
    releases = [
        msgspec.structs.replace(release, published="2026-01-01T00:00:00Z")
        for release in index.releases
    ]
    return msgspec.structs.replace(index, releases=releases).to_bytes()


@pytest.mark.parametrize("case", NAMING["addresses"]["valid"], ids=lambda case: case["url"])
def test_golden_addresses_name_their_owners(case: dict[str, str]) -> None:
    assert owner_of(case["url"]) == case["owner"]


@pytest.mark.parametrize("case", NAMING["addresses"]["invalid"], ids=lambda case: case["url"])
def test_golden_bad_addresses_are_refused(case: dict[str, str]) -> None:
    with pytest.raises(ModpmError) as caught:
        owner_of(case["url"])
    assert (caught.value.code, caught.value.exit_code) == (case["code"], 2)


@pytest.mark.parametrize("case", NAMING["repositories"]["valid"], ids=lambda case: case["module"])
def test_golden_modules_and_their_repositories_name_each_other(case: dict[str, str]) -> None:
    module = ModuleName.parse(case["module"])

    assert repository_of("acme", module) == case["repository"]
    assert module_of("acme", case["repository"]) == module


@pytest.mark.parametrize("case", NAMING["repositories"]["invalid"], ids=lambda case: case["module"])
def test_golden_names_that_the_hub_does_not_allow_are_refused(
    tmp_path: Path, registry_of_acme: HubRegistry, case: dict[str, str]
) -> None:
    distribution = read_distribution(DISTRIBUTION)
    renamed = msgspec.structs.replace(distribution.manifest, name=case["module"])
    (tmp_path / "manifest.json").write_bytes(renamed.to_bytes())

    with pytest.raises(ModpmError) as caught:
        registry_of_acme.publish([read_distribution(tmp_path)])

    assert caught.value.code == case["code"]


@pytest.mark.parametrize(
    "case", NAMING["repositories"]["passed_over"], ids=lambda case: case["repository"]
)
def test_golden_other_repositories_are_no_modules(case: dict[str, str]) -> None:
    assert module_of("acme", case["repository"]) is None


@pytest.mark.parametrize("case", NAMING["tags"]["valid"], ids=lambda case: case["version"])
def test_golden_versions_have_their_tags(case: dict[str, str]) -> None:
    assert tag_of(case["version"]) == case["tag"]
