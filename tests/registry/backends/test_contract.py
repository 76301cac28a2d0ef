"""What every kind of registry must do, on a real server of its kind.

Fixtures: `kind` is each kind there is; `writable`, `read_only`, `served` (there is a server) and
`guarded` (it asks for credentials) are those of which the sentence is true. Each is given with
nothing published.
"""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING

import msgspec
import pytest
from tests.registry.backends.contenders import publish_at_once, tag_at_once
from tests.registry.changed_distributions import in_two_files, variant_of

from modpm.core.errors import ModpmError
from modpm.core.formats.distribution import read_distribution
from modpm.core.formats.names import ModuleName
from modpm.registry.addresses import Address
from modpm.registry.backends.protocol import ReleaseFile
from modpm.registry.backends.shards import Entry
from modpm.registry.discovery.local_catalogue import Query, consult
from modpm.registry.index import CompositionRelease, ModuleRelease
from modpm.registry.installing.installation import install
from modpm.registry.projects.lockfile import Pin
from modpm.registry.publication.changing import yank
from modpm.registry.storage.transfer import receive

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.registry.backends.kinds.kind import Kind
    from tests.registry.conftest import MakeComposition, MakeDistribution

    from modpm.registry.backends.protocol import Backend
    from modpm.registry.backends.shards import Entries
    from modpm.registry.index import Index, Release

CAT, DOG = ModuleName("digits", "cat"), ModuleName("digits", "dog")
PETS = ModuleName("acme", "pets")

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


def index_of(backend: Backend, module: ModuleName = CAT) -> Index:
    index = backend.index(module)
    assert index is not None
    return index


def release_of(backend: Backend, module: ModuleName = CAT) -> Release:
    return index_of(backend, module).releases[-1]


def versions(backend: Backend, module: ModuleName = CAT) -> list[str]:
    return [release.version for release in index_of(backend, module).releases]


def content(backend: Backend, file: str, *, offset: int = 0, version: str = "1.0.0") -> bytes:
    revision = backend.revision(CAT, version)
    with backend.open_file(ReleaseFile(CAT, version, file, revision), offset) as opened:
        return opened.read()


def checked_catalogue(backend: Backend) -> Entries:
    """Return the entries of all modules, which are what the indexes say."""
    catalogue = {
        f"{shard.namespace}/{name}": entry
        for shard in backend.catalogue(None, {})
        for name, entry in (shard.entries or {}).items()
    }
    indexes = {str(module): backend.index(module) for module in backend.names()}
    assert catalogue == {name: index and Entry.of(index) for name, index in indexes.items()}
    return catalogue


def found(backend: Backend, query: Query) -> list[str]:
    names, problems = consult(backend, query.namespace, lambda known: list(known.find(query)))
    assert problems == []
    return list(map(str, names))


def code_of(work: Callable[[], object]) -> str:
    with pytest.raises(ModpmError) as caught:
        work()
    return caught.value.code


def yanked(index: Index, version: str, reason: str | None) -> Index:
    releases = [
        msgspec.structs.replace(r, yanked=reason) if r.version == version else r
        for r in index.releases
    ]
    return msgspec.structs.replace(index, releases=releases)


def tagged(index: Index, tag: str, version: str) -> Index:
    return msgspec.structs.replace(index, tags={**index.tags, tag: version})


# Reading, on every kind


def test_what_is_published_is_listed_with_every_file(
    kind: Kind, make_distribution: MakeDistribution
) -> None:
    cat = make_distribution("digits/cat")
    kind.writer().publish([cat])

    release = release_of(kind.again())

    assert (release.version, release.digest) == ("1.0.0", cat.digest)
    assert release.files == cat.manifest.files


def test_every_file_can_be_fetched(kind: Kind, make_distribution: MakeDistribution) -> None:
    cat = in_two_files(make_distribution("digits/cat"))
    kind.writer().publish([cat])
    reader = kind.again()

    for name, record in release_of(reader).all_files.items():
        with reader.open_file(ReleaseFile(CAT, "1.0.0", name)) as file:
            assert receive(file, record, name) == (cat.folder / name).read_bytes()


def test_every_change_of_an_index_raises_its_serial(
    kind: Kind, make_distribution: MakeDistribution
) -> None:
    writer, serials = kind.writer(), []
    for version in ("1.0.0", "1.0.0", "1.1.0"):  # the second time changes nothing
        writer.publish([make_distribution("digits/cat", version)])
        serials.append(index_of(kind.again()).serial)
    writer.change(CAT, lambda index: tagged(index, "stable", "1.0.0"))
    serials.append(index_of(kind.again()).serial)
    # Where the index is made of what there is, nobody can count.
    assert serials == ([1, 1, 2, 3] if kind.keeps_indexes else [0, 0, 0, 0])


def test_a_file_is_fetched_by_who_never_read_the_index(
    kind: Kind, make_distribution: MakeDistribution
) -> None:
    cat = make_distribution("digits/cat")
    kind.writer().publish([cat])

    assert content(kind.again(), "manifest.json") == (cat.folder / "manifest.json").read_bytes()


def test_a_file_is_fetched_from_any_byte_on(
    kind: Kind, make_distribution: MakeDistribution
) -> None:
    cat = make_distribution("digits/cat")
    kind.writer().publish([cat])
    reader = kind.again()
    whole = (cat.folder / "module.safetensors").read_bytes()

    for offset in (0, 1, len(whole) // 2, len(whole) - 1):
        assert content(reader, "module.safetensors", offset=offset) == whole[offset:]


def test_nothing_is_left_after_the_last_byte(
    kind: Kind, make_distribution: MakeDistribution
) -> None:
    cat = make_distribution("digits/cat")
    kind.writer().publish([cat])
    size_bytes = cat.manifest.files["module.safetensors"].size_bytes

    assert content(kind.again(), "module.safetensors", offset=size_bytes) == b""


def test_a_file_is_read_in_pieces(kind: Kind, make_distribution: MakeDistribution) -> None:
    cat = make_distribution("digits/cat")
    kind.writer().publish([cat])
    pieces = []
    with kind.again().open_file(ReleaseFile(CAT, "1.0.0", "module.safetensors")) as file:
        while piece := file.read(1000):
            assert len(piece) <= 1000
            pieces.append(piece)

    assert b"".join(pieces) == (cat.folder / "module.safetensors").read_bytes()


def test_a_composition_is_listed_and_fetched_as_class_modules_are(
    kind: Kind, make_distribution: MakeDistribution, make_composition: MakeComposition
) -> None:
    cat, dog = make_distribution("digits/cat"), make_distribution("digits/dog")
    pets = make_composition("acme/pets", [cat, dog])
    kind.writer().publish([pets, cat, dog])
    reader = kind.again()

    index = index_of(reader, PETS)
    (release,) = index.releases

    assert index.format_version == 1
    assert isinstance(release, CompositionRelease)
    assert (release.digest, release.requires) == (pets.digest, pets.manifest.requires)
    assert release.composition.labels == ["digits/cat", "digits/dog"]
    assert isinstance(release_of(reader), ModuleRelease)
    revision = reader.revision(PETS, "1.0.0")
    assert set(release.all_files) == {"manifest.json", "README.md", "LICENSE"}
    for name, record in release.all_files.items():
        with reader.open_file(ReleaseFile(PETS, "1.0.0", name, revision)) as file:
            assert receive(file, record, name) == (pets.folder / name).read_bytes()


def test_pictures_are_kept_with_the_release_and_not_locked(kind: Kind, repository: Path) -> None:
    folder = repository / "specs" / "vectors" / "distribution" / "digits-7-shown"
    shown = read_distribution(folder)
    module = ModuleName.parse(shown.manifest.name)
    kind.writer().publish([shown])
    reader = kind.again()

    release = release_of(reader, module)

    assert release.all_pictures == shown.manifest.all_pictures
    assert set(release.all_files) == {path.name for path in folder.iterdir()}
    for name, record in release.all_files.items():
        with reader.open_file(ReleaseFile(module, release.version, name)) as file:
            assert receive(file, record, name) == (folder / name).read_bytes()
    pin = Pin.of(module, release, Address("r", reader.location))
    assert pin.files.keys() == release.all_files.keys() - shown.manifest.all_pictures.keys()


def test_a_variant_is_published_beside_its_module_and_installed_in_its_place(
    kind: Kind, make_distribution: MakeDistribution, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cat = make_distribution("digits/cat")
    small = variant_of(cat, tmp_path / "small")
    kind.writer().publish([small, cat])
    for variable, value in kind.environment.items():
        monkeypatch.setenv(variable, value)

    listed = release_of(kind.again(), ModuleName("digits", "cat-int8"))
    assert isinstance(listed, ModuleRelease)
    assert listed.variant == small.module_manifest.variant
    (tmp_path / "project").mkdir()
    made = install(["digits/cat"], tmp_path / "project", kind.url, variant="int8")
    assert [(str(one.name), one.digest) for one in made.modules] == [
        ("digits/cat-int8", small.digest)
    ]


def test_a_yank_of_a_module_reaches_its_variant(
    writable: Kind,
    make_distribution: MakeDistribution,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cat = make_distribution("digits/cat")
    writable.writer().publish([variant_of(cat, tmp_path / "small"), cat])
    for variable, value in writable.environment.items():
        monkeypatch.setenv(variable, value)

    yank("digits/cat==1.0.0", "labels swapped", writable.url)

    for name in ("cat", "cat-int8"):
        release = release_of(writable.again(), ModuleName("digits", name))
        assert release.yanked == "labels swapped"


def test_a_composition_is_found_by_each_of_its_labels(
    kind: Kind, make_distribution: MakeDistribution, make_composition: MakeComposition
) -> None:
    dog = make_distribution("digits/dog")
    kind.writer().publish([dog, make_composition("acme/pets", [dog])])
    reader = kind.again()

    assert found(reader, Query(label="dog")) == ["acme/pets"]
    assert found(reader, Query(label="digits/dog")) == ["acme/pets"]
    assert found(reader, Query("pets")) == ["acme/pets"]
    assert "acme/pets" not in found(reader, Query(label="cat"))


def test_names_are_sorted_and_can_be_those_of_a_namespace(
    kind: Kind, make_distribution: MakeDistribution
) -> None:
    names = ["digits/dog", "cifar10/dog", "digits/cat"]
    kind.writer().publish([make_distribution(name) for name in names])
    reader = kind.again()

    assert list(map(str, reader.names())) == sorted(names)
    assert list(map(str, reader.names("cifar10"))) == ["cifar10/dog"]
    assert reader.names("mnist") == []


def test_a_mistyped_name_gets_the_names_that_may_be_meant(
    kind: Kind, make_distribution: MakeDistribution, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind.writer().publish([make_distribution("digits/cat"), make_distribution("digits/dog")])
    for variable, value in kind.environment.items():
        monkeypatch.setenv(variable, value)

    for mistyped in ("digits/cta", "digit/cat"):
        with pytest.raises(ModpmError) as caught:
            install([mistyped], tmp_path, kind.url)
        assert caught.value.code == "unknown-module"
        assert "did you mean `digits/cat`" in str(caught.value.hint)


def test_versions_are_listed_in_their_order(
    kind: Kind, make_distribution: MakeDistribution
) -> None:
    texts = ["2.0.0", "1.10.0", "1.9.0", "1.5.0rc1"]
    kind.writer().publish([make_distribution("digits/cat", v) for v in texts])

    assert versions(kind.again()) == ["1.5.0rc1", "1.9.0", "1.10.0", "2.0.0"]


def test_a_missing_name_is_none(kind: Kind, make_distribution: MakeDistribution) -> None:
    kind.writer().publish([make_distribution("digits/cat")])

    assert kind.again().index(DOG) is None
    assert kind.again().index(ModuleName("mnist", "seven")) is None


@pytest.mark.parametrize(
    ("module", "version", "file"),
    [
        (CAT, "9.9", "manifest.json"),
        (CAT, "1.0.0", "signature.json"),
        (DOG, "1.0.0", "manifest.json"),
    ],
    ids=["version", "file", "module"],
)
def test_a_missing_file_is_an_error(
    kind: Kind, make_distribution: MakeDistribution, module: ModuleName, version: str, file: str
) -> None:
    kind.writer().publish([make_distribution("digits/cat")])

    assert (
        code_of(partial(kind.again().open_file, ReleaseFile(module, version, file)))
        == "missing-file"
    )


@pytest.mark.parametrize(
    ("query", "names"),
    [
        (Query(), ["cifar10/dog", "digits/cat", "digits/dog"]),
        (Query(text="BARK"), ["cifar10/dog", "digits/dog"]),
        (Query(text="bark loudly"), ["cifar10/dog"]),
        (Query(text="bark", namespace="digits"), ["digits/dog"]),
        (Query(label="7", namespace="digits"), ["digits/cat", "digits/dog"]),
        (Query(label="digits/7"), ["cifar10/dog", "digits/cat", "digits/dog"]),
        (Query(label="8"), []),
        (Query(namespace="mnist"), []),
    ],
)
def test_a_search_gives_the_modules_that_meet_all_of_it(
    kind: Kind, make_distribution: MakeDistribution, query: Query, names: list[str]
) -> None:
    summaries = {
        "digits/cat": "Purrs",
        "digits/dog": "Barks",
        "cifar10/dog": "Barks loudly",
    }
    kind.writer().publish([make_distribution(n, summary=s) for n, s in summaries.items()])

    assert found(kind.again(), query) == names


def test_the_catalogue_is_what_the_indexes_say_whatever_was_done(
    writable: Kind, make_distribution: MakeDistribution
) -> None:
    def shown() -> list[tuple[str, str | None]]:
        catalogue = checked_catalogue(writable.again())
        return [(name, one.version if one else None) for name, one in sorted(catalogue.items())]

    def set_yanked(version: str, reason: str | None) -> None:
        writable.again().change(CAT, lambda index: yanked(index, version, reason))

    writer = writable.again()
    writer.publish([make_distribution("digits/cat"), make_distribution("cifar10/dog")])
    assert shown() == [("cifar10/dog", "1.0.0"), ("digits/cat", "1.0.0")]
    writable.again().publish([make_distribution("digits/cat", "1.1.0", summary="Purrs")])
    writable.again().publish([make_distribution("digits/cat", "2.0.0rc1")])
    assert shown() == [("cifar10/dog", "1.0.0"), ("digits/cat", "1.1.0")]
    set_yanked("1.1.0", "labels swapped")
    assert shown() == [("cifar10/dog", "1.0.0"), ("digits/cat", "1.0.0")]
    set_yanked("1.0.0", "so are these")
    set_yanked("2.0.0rc1", "and these")
    assert shown() == [("cifar10/dog", "1.0.0"), ("digits/cat", None)]
    set_yanked("1.1.0", None)
    assert shown() == [("cifar10/dog", "1.0.0"), ("digits/cat", "1.1.0")]

    assert len(writable.again().reindex()) >= 1
    assert shown() == [("cifar10/dog", "1.0.0"), ("digits/cat", "1.1.0")]


# Writing


def test_publishing_says_what_is_new(writable: Kind, make_distribution: MakeDistribution) -> None:
    cat, dog = make_distribution("digits/cat"), make_distribution("digits/dog")
    writable.again().publish([cat])

    published = writable.again().publish([cat, dog])

    assert [(p.name, p.version, p.digest, p.is_new) for p in published] == [
        (CAT, "1.0.0", cat.digest, False),
        (DOG, "1.0.0", dog.digest, True),
    ]
    assert {p.registry for p in published} == {writable.again().location}


def test_publishing_the_same_bytes_again_changes_no_index(
    writable: Kind, make_distribution: MakeDistribution
) -> None:
    cat = make_distribution("digits/cat")
    writable.again().publish([cat])
    before = index_of(writable.again())
    writable.again().publish([cat])

    assert index_of(writable.again()) == before


def test_other_bytes_under_a_version_are_refused(
    writable: Kind, make_distribution: MakeDistribution, tmp_path: Path
) -> None:
    cat = make_distribution("digits/cat")
    writable.again().publish([cat])
    other = make_distribution("digits/cat", "1.0", summary="other", folder=tmp_path / "other")

    assert code_of(lambda: writable.again().publish([other])) == "version-taken"

    assert [r.digest for r in index_of(writable.again()).releases] == [cat.digest]
    assert content(writable.again(), "manifest.json") == (cat.folder / "manifest.json").read_bytes()


def test_two_distributions_of_one_version_must_be_the_same(
    writable: Kind, make_distribution: MakeDistribution, tmp_path: Path
) -> None:
    cat = make_distribution("digits/cat")
    other = make_distribution("digits/cat", summary="other", folder=tmp_path / "other")

    assert code_of(lambda: writable.again().publish([cat, other])) == "version-taken"
    assert [p.is_new for p in writable.again().publish([cat, cat])] == [True, False]


def test_a_distribution_that_changes_after_it_was_verified_is_refused(
    writable: Kind, make_distribution: MakeDistribution
) -> None:
    writable.again().publish([make_distribution("digits/dog")])
    cat = make_distribution("digits/cat")
    path = cat.folder / "module.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")

    assert code_of(lambda: writable.again().publish([cat])) == "wrong-digest"
    assert writable.again().index(CAT) is None


def test_a_yanked_release_stays_with_its_reason_until_it_is_taken_back(
    writable: Kind, make_distribution: MakeDistribution
) -> None:
    writable.again().publish([make_distribution("digits/cat", v) for v in ("1.0.0", "1.1.0")])

    writable.again().change(CAT, partial(yanked, version="1.1.0", reason="wrong labels"))
    assert [r.yanked for r in index_of(writable.again()).releases] == [None, "wrong labels"]
    assert content(writable.again(), "manifest.json", version="1.1.0")

    writable.again().change(CAT, partial(yanked, version="1.1.0", reason=None))
    assert [r.yanked for r in index_of(writable.again()).releases] == [None, None]


def test_a_yank_survives_the_next_release(
    writable: Kind, make_distribution: MakeDistribution
) -> None:
    writable.again().publish([make_distribution("digits/cat")])
    writable.again().change(CAT, partial(yanked, version="1.0.0", reason="wrong labels"))
    writable.again().publish([make_distribution("digits/cat", "1.1.0")])

    assert [r.yanked for r in index_of(writable.again()).releases] == ["wrong labels", None]


def test_a_tag_is_set_and_moved(writable: Kind, make_distribution: MakeDistribution) -> None:
    writable.again().publish([make_distribution("digits/cat", v) for v in ("1.0.0", "1.1.0")])

    for version in ("1.0.0", "1.1.0"):
        changed = writable.again().change(CAT, partial(tagged, tag="stable", version=version))
        assert changed == index_of(writable.again())
        assert changed.tags == {"stable": version}


def test_a_module_that_is_not_listed_cannot_be_changed(
    writable: Kind, make_distribution: MakeDistribution
) -> None:
    writable.again().publish([make_distribution("digits/cat")])
    change = partial(tagged, tag="stable", version="1.0.0")

    assert code_of(lambda: writable.again().change(DOG, change)) == "unknown-module"


def test_a_change_that_fails_changes_nothing(
    writable: Kind, make_distribution: MakeDistribution
) -> None:
    writable.again().publish([make_distribution("digits/cat")])

    def fail(_: Index) -> Index:
        raise ModpmError("there is no such tag", code="unknown-tag")

    assert code_of(lambda: writable.again().change(CAT, fail)) == "unknown-tag"
    assert index_of(writable.again()).tags == {}


@needs_fork
def test_of_16_processes_that_publish_one_version_one_wins(
    writable: Kind, make_distribution: MakeDistribution, tmp_path: Path
) -> None:
    contenders = [
        make_distribution("digits/cat", summary=f"number {i}", folder=tmp_path / f"{i}")
        for i in range(16)
    ]

    outcomes = publish_at_once(writable.access(), [c.folder for c in contenders])

    assert sorted(outcomes) == ["published", *["version-taken"] * 15]
    winner = contenders[outcomes.index("published")]
    reader = writable.again()
    release = release_of(reader)
    assert release.digest == winner.digest
    for name, record in release.all_files.items():
        with reader.open_file(ReleaseFile(CAT, "1.0.0", name)) as file:
            receive(file, record, name)


@needs_fork
def test_8_processes_that_publish_versions_of_one_module_lose_nothing(
    writable: Kind, make_distribution: MakeDistribution
) -> None:
    releases = [make_distribution("digits/cat", f"1.{i}.0") for i in range(8)]

    assert publish_at_once(writable.access(), [r.folder for r in releases]) == ["published"] * 8
    assert versions(writable.again()) == [f"1.{i}.0" for i in range(8)]
    checked_catalogue(writable.again())


@needs_fork
def test_8_processes_that_publish_modules_lose_nothing(
    writable: Kind, make_distribution: MakeDistribution
) -> None:
    releases = [make_distribution(f"digits/cat-{i}") for i in range(8)]

    assert publish_at_once(writable.access(), [r.folder for r in releases]) == ["published"] * 8
    assert [str(n) for n in writable.again().names()] == [f"digits/cat-{i}" for i in range(8)]
    assert len(checked_catalogue(writable.again())) == 8


@needs_fork
def test_8_processes_that_publish_the_first_modules_of_namespaces_lose_nothing(
    writable: Kind, make_distribution: MakeDistribution
) -> None:
    releases = [make_distribution(f"space-{i // 2}/cat-{i}") for i in range(8)]

    assert publish_at_once(writable.access(), [r.folder for r in releases]) == ["published"] * 8
    assert len(checked_catalogue(writable.again())) == 8


@needs_fork
def test_8_processes_that_set_tags_lose_nothing(
    writable: Kind, make_distribution: MakeDistribution
) -> None:
    writable.again().publish([make_distribution("digits/cat")])
    tags = [f"tag-{i}" for i in range(8)]

    assert tag_at_once(writable.access(), "digits/cat", "1.0.0", tags) == ["changed"] * 8
    assert index_of(writable.again()).tags == dict.fromkeys(tags, "1.0.0")


# Reading only


def test_a_registry_that_is_only_read_refuses_to_be_written(
    read_only: Kind, make_distribution: MakeDistribution
) -> None:
    read_only.writer().publish([make_distribution("digits/cat")])
    reader = read_only.again()
    change = partial(tagged, tag="stable", version="1.0.0")

    for write in (
        lambda: reader.publish([make_distribution("digits/dog")]),
        lambda: reader.change(CAT, change),
    ):
        assert code_of(write) == "read-only-registry"


# Credentials


def test_wrong_credentials_are_refused_without_a_word_of_them(
    guarded: Kind, make_distribution: MakeDistribution
) -> None:
    guarded.writer().publish([make_distribution("digits/cat")])
    access, secret = guarded.strangers_access()
    stranger = access.open()

    for work in (
        lambda: stranger.publish([make_distribution("digits/dog")]),
        lambda: stranger.change(CAT, partial(tagged, tag="stable", version="1.0.0")),
    ):
        with pytest.raises(ModpmError) as caught:
            work()
        assert caught.value.code == "not-authorized"
        assert secret not in str(caught.value)
        assert secret not in repr(caught.value.__context__)
        assert secret not in repr(caught.value.__cause__)
