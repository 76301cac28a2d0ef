from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

import pytest

from modpm.core.errors import ModpmError
from modpm.core.formats.digest import digest_bytes
from modpm.core.formats.names import ModuleName
from modpm.registry.backends.directory import DirectoryRegistry
from modpm.registry.backends.protocol import ReleaseFile

if TYPE_CHECKING:
    from pathlib import Path

    from tests.registry.conftest import MakeDistribution

    from modpm.core.formats.distribution import Distribution
    from modpm.registry.index import Index

CAT = ModuleName("digits", "cat")


def index_of(registry: Path, module: ModuleName = CAT) -> Index:
    index = DirectoryRegistry(registry).index(module)
    assert index is not None
    return index


def versions(registry: Path, module: ModuleName = CAT) -> list[str]:
    return [release.version for release in index_of(registry, module).releases]


def test_what_is_published_is_listed_and_can_be_fetched(
    registry: Path, make_distribution: MakeDistribution
) -> None:
    cat = make_distribution("digits/cat")

    published = DirectoryRegistry(registry).publish([cat])

    assert [(str(p.name), p.version, p.digest, p.is_new) for p in published] == [
        ("digits/cat", "1.0.0", cat.digest, True)
    ]
    reader = DirectoryRegistry(registry)
    assert reader.names() == [CAT]
    (release,) = index_of(registry).releases
    assert release.digest == cat.digest
    for name, record in release.all_files.items():
        with reader.open_file(ReleaseFile(CAT, "1.0.0", name)) as file:
            assert digest_bytes(file.read()) == record.digest


def test_names_are_sorted_and_can_be_those_of_a_namespace(
    registry: Path, make_distribution: MakeDistribution
) -> None:
    names = ["digits/dog", "cifar10/dog", "digits/cat"]
    DirectoryRegistry(registry).publish([make_distribution(name) for name in names])

    assert list(map(str, DirectoryRegistry(registry).names())) == sorted(names)
    assert list(map(str, DirectoryRegistry(registry).names("cifar10"))) == ["cifar10/dog"]
    assert DirectoryRegistry(registry).names("mnist") == []


def test_folders_that_are_not_modules_are_passed_over(
    registry: Path, make_distribution: MakeDistribution
) -> None:
    DirectoryRegistry(registry).publish([make_distribution("digits/cat")])
    for stray in ("digits/Not A Name", "-/x", ".git/objects"):
        (registry / stray).mkdir(parents=True)
        (registry / stray / "index.json").write_text("{}")

    assert DirectoryRegistry(registry).names() == [CAT]


def test_a_missing_name_is_none_and_a_missing_file_an_error(
    registry: Path, make_distribution: MakeDistribution
) -> None:
    DirectoryRegistry(registry).publish([make_distribution("digits/cat")])

    assert DirectoryRegistry(registry).index(ModuleName("digits", "dog")) is None
    with pytest.raises(ModpmError) as caught:
        DirectoryRegistry(registry).open_file(ReleaseFile(CAT, "9.9", "manifest.json"))
    assert caught.value.code == "missing-file"


def test_publishing_the_same_bytes_again_changes_nothing(
    registry: Path, make_distribution: MakeDistribution
) -> None:
    cat = make_distribution("digits/cat")
    DirectoryRegistry(registry).publish([cat])
    before = {path: path.stat().st_mtime_ns for path in registry.rglob("*")}

    (again,) = DirectoryRegistry(registry).publish([cat])

    after = {path: path.stat().st_mtime_ns for path in registry.rglob("*")}
    assert not again.is_new
    assert after == before


def test_other_bytes_under_a_version_are_refused(
    registry: Path, make_distribution: MakeDistribution, tmp_path: Path
) -> None:
    DirectoryRegistry(registry).publish([make_distribution("digits/cat")])
    other = make_distribution("digits/cat", "1.0", summary="other", folder=tmp_path / "other")

    with pytest.raises(ModpmError) as caught:
        DirectoryRegistry(registry).publish([other])

    assert caught.value.code == "version-taken"
    assert versions(registry) == ["1.0.0"]


def test_one_refusal_publishes_none(
    registry: Path, make_distribution: MakeDistribution, tmp_path: Path
) -> None:
    DirectoryRegistry(registry).publish([make_distribution("digits/dog")])
    other = make_distribution("digits/dog", summary="other", folder=tmp_path / "other")

    with pytest.raises(ModpmError):
        DirectoryRegistry(registry).publish([make_distribution("digits/cat"), other])

    assert DirectoryRegistry(registry).index(CAT) is None


def test_two_distributions_of_one_version_must_be_the_same(
    registry: Path, make_distribution: MakeDistribution, tmp_path: Path
) -> None:
    cat = make_distribution("digits/cat")
    other = make_distribution("digits/cat", summary="other", folder=tmp_path / "other")

    with pytest.raises(ModpmError) as caught:
        DirectoryRegistry(registry).publish([cat, other])
    assert caught.value.code == "version-taken"
    assert [p.is_new for p in DirectoryRegistry(registry).publish([cat, cat])] == [True, False]


def test_several_versions_are_published_at_once(
    registry: Path, make_distribution: MakeDistribution
) -> None:
    texts = ["2.0.0", "1.0.0", "1.5.0rc1"]
    DirectoryRegistry(registry).publish([make_distribution("digits/cat", v) for v in texts])

    assert versions(registry) == ["1.0.0", "1.5.0rc1", "2.0.0"]


def test_keys_of_a_later_modpm_survive_publishing(
    registry: Path, make_distribution: MakeDistribution
) -> None:
    DirectoryRegistry(registry).publish([make_distribution("digits/cat")])
    path = registry / "digits" / "cat" / "index.json"
    path.write_bytes(
        path.read_bytes().replace(b'"format_version"', b'"a_later_key":7,"format_version"')
    )

    DirectoryRegistry(registry).publish([make_distribution("digits/cat", "1.1.0")])

    assert b'"a_later_key":7' in path.read_bytes()
    assert versions(registry) == ["1.0.0", "1.1.0"]


def test_a_release_that_no_index_lists_is_replaced(
    registry: Path, make_distribution: MakeDistribution
) -> None:
    DirectoryRegistry(registry).publish([make_distribution("digits/dog")])
    (registry / "digits" / "cat" / "1.0.0" / "junk").mkdir(parents=True)
    (registry / ".staging" / "junk").mkdir(parents=True)

    DirectoryRegistry(registry).publish([make_distribution("digits/cat")])

    assert versions(registry) == ["1.0.0"]
    assert not (registry / "digits" / "cat" / "1.0.0" / "junk").exists()
    assert not (registry / ".staging").exists()


@pytest.mark.skipif(os.name == "nt", reason="this system has no file modes")
def test_a_group_can_share_a_registry(registry: Path, make_distribution: MakeDistribution) -> None:
    before = os.umask(0o002)
    try:
        DirectoryRegistry(registry).publish([make_distribution("digits/cat")])
    finally:
        os.umask(before)

    for path in (registry / ".lock", registry / "digits" / "cat", registry / "registry.json"):
        assert path.stat().st_mode & 0o020


def test_a_distribution_that_changes_after_it_was_verified_is_refused(
    registry: Path, make_distribution: MakeDistribution
) -> None:
    cat = make_distribution("digits/cat")
    path = cat.folder / "module.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")

    with pytest.raises(ModpmError) as caught:
        DirectoryRegistry(registry).publish([cat])

    assert caught.value.code == "wrong-digest"
    assert DirectoryRegistry(registry).names() == []


def test_a_folder_of_other_things_is_not_made_a_registry(
    tmp_path: Path, make_distribution: MakeDistribution
) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.png").write_bytes(b"")

    with pytest.raises(ModpmError) as caught:
        DirectoryRegistry(tmp_path / "photos").publish([make_distribution("digits/cat")])

    assert caught.value.code == "not-a-registry"
    assert [path.name for path in (tmp_path / "photos").iterdir()] == ["cat.png"]


@pytest.mark.parametrize(
    ("what", "code"),
    [("nothing", "registry-missing"), ("folder", "not-a-registry"), ("file", "not-a-registry")],
)
def test_reading_what_is_not_a_registry_is_an_error(registry: Path, what: str, code: str) -> None:
    if what == "folder":
        registry.mkdir()
    if what == "file":
        registry.write_bytes(b"")
    reader = DirectoryRegistry(registry)

    for read in (
        partial(reader.index, CAT),
        reader.names,
        partial(reader.open_file, ReleaseFile(CAT, "1.0.0", "manifest.json")),
    ):
        with pytest.raises(ModpmError) as caught:
            read()
        assert caught.value.code == code


def test_a_file_is_not_made_a_registry(registry: Path, make_distribution: MakeDistribution) -> None:
    registry.write_bytes(b"")

    with pytest.raises(ModpmError) as caught:
        DirectoryRegistry(registry).publish([make_distribution("digits/cat")])
    assert caught.value.code == "not-a-registry"


def test_a_registry_of_a_later_layout_is_refused(registry: Path) -> None:
    registry.mkdir()
    (registry / "registry.json").write_text('{"format_version":2}')

    with pytest.raises(ModpmError) as caught:
        DirectoryRegistry(registry).names()
    assert caught.value.code == "not-a-registry"


def test_links_in_a_registry_are_not_followed(
    registry: Path, make_distribution: MakeDistribution, tmp_path: Path
) -> None:
    DirectoryRegistry(registry).publish([make_distribution("digits/cat")])
    (tmp_path / "secret").write_bytes(b"secret")
    for path in (
        registry / "digits" / "cat" / "1.0.0" / "README.md",
        registry / "digits" / "cat" / "index.json",
    ):
        path.unlink()
        path.symlink_to(tmp_path / "secret")

    with pytest.raises(ModpmError) as caught:
        DirectoryRegistry(registry).open_file(ReleaseFile(CAT, "1.0.0", "README.md"))
    assert caught.value.code == "not-a-regular-file"
    with pytest.raises(ModpmError):
        DirectoryRegistry(registry).index(CAT)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_in_a_registry_does_not_hang(
    registry: Path, make_distribution: MakeDistribution
) -> None:
    DirectoryRegistry(registry).publish([make_distribution("digits/cat")])
    path = registry / "digits" / "cat" / "1.0.0" / "README.md"
    path.unlink()
    os.mkfifo(path)

    with pytest.raises(ModpmError) as caught:
        DirectoryRegistry(registry).open_file(ReleaseFile(CAT, "1.0.0", "README.md"))
    assert caught.value.code == "not-a-regular-file"


def outcome(registry: Path, distribution: Distribution) -> str:
    try:
        (published,) = DirectoryRegistry(registry).publish([distribution])
    except ModpmError as error:
        return error.code
    return "published" if published.is_new else "already published"


def test_of_16_writers_of_one_version_one_wins(
    registry: Path, make_distribution: MakeDistribution, tmp_path: Path
) -> None:
    contenders = [
        make_distribution("digits/cat", summary=f"number {i}", folder=tmp_path / f"{i}")
        for i in range(16)
    ]
    with ThreadPoolExecutor(16) as pool:
        outcomes = list(pool.map(lambda contender: outcome(registry, contender), contenders))

    assert sorted(outcomes) == ["published", *["version-taken"] * 15]
    winner = contenders[outcomes.index("published")]
    assert index_of(registry).releases[0].digest == winner.digest


def test_8_writers_of_one_module_lose_nothing(
    registry: Path, make_distribution: MakeDistribution
) -> None:
    releases = [make_distribution("digits/cat", f"1.{i}.0") for i in range(8)]
    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(lambda release: outcome(registry, release), releases))

    assert outcomes == ["published"] * 8
    assert versions(registry) == [f"1.{i}.0" for i in range(8)]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_8_processes_lose_nothing(registry: Path, make_distribution: MakeDistribution) -> None:
    releases = [make_distribution("digits/cat", f"1.{i}.0") for i in range(8)]
    children = []
    for release in releases:
        child = os.fork()
        if child == 0:
            os._exit(0 if outcome(registry, release) == "published" else 1)
        children.append(child)

    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 8
    assert versions(registry) == [f"1.{i}.0" for i in range(8)]
