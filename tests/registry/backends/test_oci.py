"""What is special to registries of OCI artifacts, on a real server of them."""

from __future__ import annotations

import json
import re
from functools import partial
from typing import TYPE_CHECKING

import msgspec
import oras.provider
import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version
from tests.registry.backends.kinds.kind import in_environment
from tests.registry.backends.kinds.oci import Oci

from modpm.core.errors import ModpmError
from modpm.core.formats import canonical_json
from modpm.core.formats.digest import digest_bytes
from modpm.core.formats.names import ModuleName
from modpm.registry.backends.oci import claims, naming
from modpm.registry.backends.oci.modelpack import unpack
from modpm.registry.backends.oci.registry import OciRegistry
from modpm.registry.backends.protocol import ReleaseFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.registry.backends.conftest import StartServer
    from tests.registry.conftest import MakeDistribution

    from modpm.core.formats.distribution import Distribution
    from modpm.registry.backends.oci.repository import Repository
    from modpm.registry.index import Index

CAT = ModuleName("digits", "cat")
OCI_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")


@pytest.fixture
def server(start_server: StartServer) -> Oci:
    kind = start_server(Oci)
    assert isinstance(kind, Oci)
    kind.renew()
    return kind


@pytest.fixture
def registry(server: Oci) -> OciRegistry:
    opened = server.again()
    assert isinstance(opened, OciRegistry)
    return opened


@pytest.fixture
def cat(make_distribution: MakeDistribution) -> Distribution:
    return make_distribution("digits/cat", summary="Purrs")


@pytest.fixture
def generic(server: Oci) -> Iterator[oras.provider.Registry]:
    """Give a client that knows nothing of modpm."""
    client = oras.provider.Registry(insecure=True, auth_backend="basic")
    client.auth.set_basic_auth("publisher", "kept")
    with in_environment(server.environment):
        yield client


def repository_of(registry: OciRegistry, part: str = "") -> Repository:
    return registry._repository(CAT, part)


def reference(server: Oci, tag: str) -> str:
    return f"{server.url.removeprefix('oci://')}/digits/cat:{tag}"


def code_of(work: Callable[[], object]) -> str:
    with pytest.raises(ModpmError) as caught:
        work()
    return caught.value.code


def index_of(registry: OciRegistry) -> Index:
    index = registry.index(CAT)
    assert index is not None
    return index


def with_tags(index: Index, **tags: str) -> Index:
    return msgspec.structs.replace(index, tags=tags)


# Names: clauses O-1 and O-2

numbers = st.integers(0, 10**9).map(str)
releases = st.lists(numbers, min_size=1, max_size=3).map(".".join)
versions = st.builds(
    "{}{}{}{}{}".format,
    st.sampled_from(["", "0!", "1!", "23!"]),
    releases,
    st.sampled_from(["", "a1", "b2", "rc3"]),
    st.sampled_from(["", ".post4", ".dev5", ".post4.dev5"]),
    st.sampled_from(["", "+cpu", "+cpu.7", "+1a"]),
).map(lambda text: str(Version(text)))


@given(versions)
def test_a_version_can_be_read_back_from_its_oci_tag(version: str) -> None:
    tag = naming.tag_of_version(version)

    assert OCI_TAG.fullmatch(tag)
    assert naming.version_of_tag(tag) == version
    assert not naming.is_module_tag(tag)
    assert OCI_TAG.fullmatch(naming.yank_tag(version))
    assert naming.version_of_tag(naming.yank_tag(version)) is None


@given(versions, versions)
def test_claims_call_versions_the_same_only_if_they_are(one: str, other: str) -> None:
    same = naming.claim_key(one) == naming.claim_key(other)

    assert same == (Version(one) == Version(other))
    assert naming.claim_key(one) == naming.claim_key(str(Version(f"{one}")))


@given(st.text("abzAZ019-_.", max_size=12))
def test_no_tag_of_a_module_is_that_of_a_version(tag: str) -> None:
    assert not (naming.is_module_tag(tag) and naming.version_of_tag(tag) is not None)


@pytest.mark.parametrize(
    "url",
    [
        "oci://user:secret@host/prefix",
        "oci://host/Upper",
        "oci://host/a//b",
        "oci://host/../b",
        "oci://host/a b",
        "oci://host/.hidden",
    ],
)
def test_an_address_that_cannot_be_one_is_refused(url: str) -> None:
    with pytest.raises(ModpmError) as caught:
        OciRegistry(url)
    assert (caught.value.code, caught.value.exit_code) == ("invalid-registry-url", 2)
    assert "secret" not in str(caught.value)


def test_a_prefix_may_be_absent() -> None:
    assert OciRegistry("oci://registry.example.org").location == "oci://registry.example.org"


@pytest.mark.parametrize(
    ("host", "scheme"),
    [
        ("localhost:5000", "http"),
        ("127.0.0.1:5000", "http"),
        ("127.8.9.1", "http"),
        ("[::1]:5000", "http"),
        ("registry.example.org", "https"),
        ("localhost.example.org", "https"),
        ("10.0.0.1:5000", "https"),
        ("inside.example.org:5000", "http"),
        ("inside.example.org", "https"),
    ],
)
def test_only_this_machine_and_named_servers_are_spoken_to_in_the_open(
    host: str, scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODPM_ALLOW_HTTP", "other, inside.example.org:5000")

    assert OciRegistry(f"oci://{host}/modules")._server.scheme == scheme


# The layout (O-3 to O-8)


def test_a_generic_tool_pulls_the_same_files(
    server: Oci,
    registry: OciRegistry,
    cat: Distribution,
    generic: oras.provider.Registry,
    tmp_path: Path,
) -> None:
    registry.publish([cat])
    registry.change(CAT, partial(with_tags, stable="1.0.0"))
    names = {"manifest.json", *cat.manifest.files}

    for tag in ("1.0.0", "stable"):
        generic.pull(target=reference(server, tag), outdir=str(tmp_path / tag))
        assert {path.name for path in (tmp_path / tag).iterdir()} == names
        for name in names:
            assert (tmp_path / tag / name).read_bytes() == (cat.folder / name).read_bytes()


def test_a_model_tool_finds_each_file_by_its_path_and_kind(
    server: Oci, registry: OciRegistry, cat: Distribution, generic: oras.provider.Registry
) -> None:
    registry.publish([cat])

    manifest = generic.get_manifest(reference(server, "1.0.0"))

    assert manifest["artifactType"] == "application/vnd.cncf.model.manifest.v1+json"
    kinds = {}
    for layer in manifest["layers"]:
        name = layer["annotations"]["org.cncf.model.filepath"]
        kinds[name] = layer["mediaType"].removeprefix("application/vnd.cncf.model.")
        blob = generic.get_blob(reference(server, "1.0.0"), layer["digest"]).content
        assert blob == (cat.folder / name).read_bytes()
    assert kinds == {
        "manifest.json": "weight.config.v1.raw",
        "module.safetensors": "weight.v1.raw",
        "README.md": "doc.v1.raw",
        "LICENSE": "doc.v1.raw",
    }


def test_the_model_config_is_one_of_modelpack(
    server: Oci, registry: OciRegistry, cat: Distribution, generic: oras.provider.Registry
) -> None:
    registry.publish([cat])
    manifest = generic.get_manifest(reference(server, "1.0.0"))

    blob = generic.get_blob(reference(server, "1.0.0"), manifest["config"]["digest"]).content
    config = json.loads(blob)

    assert manifest["config"]["mediaType"] == "application/vnd.cncf.model.config.v1+json"
    assert set(config) == {"descriptor", "config", "modelfs"}
    assert config["descriptor"]["name"] == "digits/cat"
    assert config["descriptor"]["licenses"] == [cat.manifest.license]
    assert re.fullmatch(r"\d+(\.\d)?[KMBTQ]", config["config"]["paramSize"])
    assert config["modelfs"]["type"] == "layers"
    assert config["modelfs"]["diffIds"] == [layer["digest"] for layer in manifest["layers"]]


def test_what_is_not_of_a_module_is_passed_over(registry: OciRegistry, cat: Distribution) -> None:
    registry.publish([cat])
    repository = repository_of(registry)
    for tag in ("2.0.0", "latest", "sha256-0123.sig", "_yank.7.0"):
        repository.put_record(tag, {"somebody": "else"})

    index = index_of(registry)

    assert [release.version for release in index.releases] == ["1.0.0"]
    assert index.tags == {}


def test_a_version_whose_tag_holds_something_else_cannot_be_published(
    registry: OciRegistry, cat: Distribution
) -> None:
    repository_of(registry).put_record("1.0.0", {"somebody": "else"})

    assert code_of(lambda: registry.publish([cat])) == "version-taken"


def test_a_release_whose_layers_are_others_is_skipped_and_hides_no_other(
    registry: OciRegistry, cat: Distribution, make_distribution: MakeDistribution
) -> None:
    registry.publish([cat, make_distribution("digits/cat", "1.1.0")])
    repository = repository_of(registry)
    document = json.loads(repository.manifest("1.0.0") or b"")
    document["layers"][0], document["layers"][1] = (
        {**document["layers"][1], "annotations": document["layers"][0]["annotations"]},
        {**document["layers"][0], "annotations": document["layers"][1]["annotations"]},
    )
    for tag in ("1.0.0", "stable"):
        repository.put_manifest(tag, canonical_json.encode(document))

    index = index_of(registry)
    assert [release.version for release in index.releases] == ["1.1.0"]
    assert index.tags == {"stable": "1.0.0"}
    assert code_of(lambda: index.find("1.0.0")) == "skipped-release"
    assert code_of(lambda: registry.publish([cat])) == "invalid-index"
    assert (
        code_of(lambda: registry.open_file(ReleaseFile(CAT, "1.0.0", "LICENSE"))) == "invalid-index"
    )


def test_a_newer_release_is_skipped_as_such_and_a_strange_yank_is_of_one_release(
    registry: OciRegistry, cat: Distribution, make_distribution: MakeDistribution
) -> None:
    registry.publish([cat, make_distribution("digits/cat", "1.1.0")])
    repository = repository_of(registry)
    document = json.loads(repository.manifest("1.0.0") or b"")
    release = {**json.loads(document["annotations"]["modpm.release"]), "format_version": 2}
    document["annotations"]["modpm.release"] = canonical_json.encode(release).decode()
    repository.put_manifest("1.0.0", canonical_json.encode(document))

    index = index_of(registry)
    assert [one.version for one in index.releases] == ["1.1.0"]
    assert [(one.text, one.is_newer) for one in index.skipped] == [("1.0.0", True)]

    repository.put_record("_yank.1.1.0", {"modpm.yanked": ""})
    index = index_of(registry)
    assert not index.releases
    assert [one.text for one in index.skipped] == ["1.0.0", "1.1.0"]


def test_a_release_under_the_tag_of_another_version_is_not_listed(
    registry: OciRegistry, cat: Distribution
) -> None:
    registry.publish([cat])
    repository = repository_of(registry)
    repository.put_manifest("9.9.9", repository.manifest("1.0.0") or b"")

    assert [release.version for release in index_of(registry).releases] == ["1.0.0"]


# Tags, yanks and revisions (O-9 to O-13, O-21)


def test_a_tag_is_taken_back_without_deleting(registry: OciRegistry, cat: Distribution) -> None:
    registry.publish([cat])
    registry.change(CAT, partial(with_tags, stable="1.0.0", tested="1.0.0"))

    changed = registry.change(CAT, partial(with_tags, tested="1.0.0"))

    assert changed.tags == {"tested": "1.0.0"}
    assert "stable" in (repository_of(registry).tags() or [])


@pytest.mark.parametrize("tag", ["_yank.1.0.0", "1.0", "a/b", "a" * 65, "-x", "ä", "a:b"])
def test_what_is_no_tag_is_refused_before_it_is_written(
    registry: OciRegistry, cat: Distribution, tag: str
) -> None:
    registry.publish([cat])
    before = repository_of(registry).tags()

    work = partial(registry.change, CAT, lambda index: with_tags(index, **{tag: "1.0.0"}))

    assert code_of(work) == "invalid-requirement"
    assert repository_of(registry).tags() == before


def test_a_change_of_a_release_is_refused(registry: OciRegistry, cat: Distribution) -> None:
    registry.publish([cat])

    with pytest.raises(ValueError, match="only tags and yanks"):
        registry.change(CAT, lambda index: msgspec.structs.replace(index, releases=[]))


def test_a_locked_revision_is_read_when_the_owner_moves_the_version(
    registry: OciRegistry, make_distribution: MakeDistribution
) -> None:
    old, new = make_distribution("digits/cat"), make_distribution("digits/cat", "1.1.0")
    registry.publish([old, new])
    revision = registry.revision(CAT, "1.0.0")
    repository = repository_of(registry)
    repository.put_manifest("1.0.0", repository.manifest("1.1.0") or b"")

    with registry.open_file(ReleaseFile(CAT, "1.0.0", "manifest.json", revision)) as file:
        assert digest_bytes(file.read()) == old.digest
    assert [release.version for release in index_of(registry).releases] == ["1.1.0"]


@pytest.mark.parametrize("revision", ["main", "../../../_catalog", "sha256:" + "0" * 64])
def test_a_revision_that_is_not_there_is_a_missing_file(
    registry: OciRegistry, cat: Distribution, revision: str
) -> None:
    registry.publish([cat])
    work = partial(registry.open_file, ReleaseFile(CAT, "1.0.0", "LICENSE", revision))

    assert code_of(work) == "missing-file"


def test_what_is_published_again_after_another_client_did_is_not_new(
    server: Oci, registry: OciRegistry, cat: Distribution
) -> None:
    registry.publish([cat])

    assert not server.again().publish([cat])[0].is_new


# Writers that crash (O-18, O-19)


def test_a_claim_of_a_writer_that_crashed_is_given_up(
    registry: OciRegistry, cat: Distribution, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "TIMEOUT_SECONDS", 0.2)
    place = repository_of(registry, "modpm.claims")
    place.put_record(f"1.{'0' * 16}.claim", {claims.CLAIM_ANNOTATION: "sha256:" + "0" * 64})

    assert registry.publish([cat])[0].is_new
    assert f"1.{'0' * 16}.late" in (place.tags() or [])


def test_who_comes_next_finishes_what_a_chosen_writer_left(
    registry: OciRegistry,
    cat: Distribution,
    make_distribution: MakeDistribution,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(OciRegistry, "_show", crash)
        with pytest.raises(KeyboardInterrupt):
            registry.publish([cat])
    assert registry.index(CAT) is None
    monkeypatch.setattr("modpm.registry.backends.oci.registry.HELP_AFTER_SECONDS", 0.1)
    other = make_distribution("digits/cat", summary="other", folder=tmp_path / "other")

    assert code_of(lambda: registry.publish([other])) == "version-taken"
    assert [release.digest for release in index_of(registry).releases] == [cat.digest]
    assert not registry.publish([cat])[0].is_new


def test_an_artifact_that_was_read_says_what_was_written(
    registry: OciRegistry, cat: Distribution
) -> None:
    registry.publish([cat])
    data = repository_of(registry).manifest("1.0.0") or b""

    artifact = unpack(data, "here")

    assert artifact is not None
    assert artifact.release.digest == cat.digest
    assert artifact.digest == registry.revision(CAT, "1.0.0")
