"""A composition is published where its class modules are, as it names them (clause V-14)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from packaging.version import Version
from tests.registry.outcomes import refused

from modpm.core.formats.names import ModuleName
from modpm.registry.backends.directory import DirectoryRegistry
from modpm.registry.backends.publishing_plan import listed_index, planned
from modpm.registry.publication.changing import unyank, yank
from modpm.registry.publication.publishing import publish

if TYPE_CHECKING:
    from pathlib import Path

    from tests.registry.conftest import MakeComposition, MakeDistribution

    from modpm.core.formats.distribution import Distribution

PETS = ModuleName("acme", "pets")


@pytest.fixture
def cat(make_distribution: MakeDistribution) -> Distribution:
    return make_distribution("digits/cat", "1.2.0")


@pytest.fixture
def pets(make_composition: MakeComposition, cat: Distribution) -> Distribution:
    return make_composition("acme/pets", [cat])


def is_listed(registry: Path) -> bool:
    index = listed_index(DirectoryRegistry(registry), PETS)
    return index is not None and index.find(Version("1.0.0")) is not None


def test_class_modules_may_be_there_already(
    cat: Distribution, pets: Distribution, registry: Path
) -> None:
    publish([cat.folder], registry)
    (published,) = publish([pets.folder], registry)
    assert (published.name, published.is_new) == (PETS, True)
    assert is_listed(registry)


def test_class_modules_may_come_with_it_and_go_first(
    cat: Distribution, pets: Distribution, registry: Path
) -> None:
    published = publish([pets.folder, cat.folder], registry)
    assert [str(one.name) for one in published] == ["digits/cat", "acme/pets"]


def test_a_folder_that_is_no_registry_yet_becomes_one(
    cat: Distribution, pets: Distribution, registry: Path
) -> None:
    registry.mkdir()
    for dry_run in (True, False):
        published = publish([cat.folder, pets.folder], registry, dry_run=dry_run)
        assert [one.is_new for one in published] == [True, True]
        assert is_listed(registry) != dry_run


def test_a_listing_that_is_damaged_is_not_taken_for_none(
    cat: Distribution, pets: Distribution, registry: Path
) -> None:
    publish([cat.folder], registry)
    (registry / "digits" / "cat" / "index.json").write_bytes(b"{")

    assert refused(lambda: publish([pets.folder], registry)).code == "invalid-json"


def test_what_is_in_order_stays_so(
    make_distribution: MakeDistribution, cat: Distribution, pets: Distribution
) -> None:
    dog = make_distribution("digits/dog")
    entries = planned([dog, pets, cat], lambda _module, _version: None, "here")
    assert [entry.distribution for entry in entries] == [dog, cat, pets]


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_class_module_that_is_not_there_is_named_and_nothing_is_published(
    pets: Distribution, registry: Path, dry_run: bool
) -> None:
    error = refused(lambda: publish([pets.folder], registry, dry_run=dry_run))
    assert error.code == "incomplete-composition"
    assert error.why == "acme/pets 1.0.0: digits/cat 1.2.0 is not there"
    assert not registry.exists()


def test_every_class_module_that_is_amiss_is_named(
    make_distribution: MakeDistribution,
    make_composition: MakeComposition,
    cat: Distribution,
    registry: Path,
    tmp_path: Path,
) -> None:
    dog, cow = make_distribution("digits/dog"), make_distribution("digits/cow")
    other = make_distribution("digits/dog", summary="another", folder=tmp_path / "other")
    inner = make_composition("digits/cow", [cat])
    outer = make_composition("acme/pets", [cat, dog, cow, make_distribution("digits/hen")])
    publish([cat.folder, other.folder], registry)
    DirectoryRegistry(registry).publish([inner])
    yank("digits/cat==1.2.0", "wrong labels", registry)

    error = refused(lambda: publish([outer.folder], registry))

    assert error.why is not None
    said = f"has digest {other.digest}, and the composition names {dog.digest}"
    inside = "is a composition, and compositions are made of class modules"
    assert error.why.splitlines() == [
        "acme/pets 1.0.0: digits/cat 1.2.0 is yanked: wrong labels",
        f"acme/pets 1.0.0: digits/dog 1.0.0 {said}",
        f"acme/pets 1.0.0: digits/cow 1.0.0 {inside}",
        "acme/pets 1.0.0: digits/hen 1.0.0 is not there",
    ]


def test_a_composition_of_a_composition_of_the_same_command_is_refused(
    make_composition: MakeComposition, cat: Distribution, pets: Distribution, registry: Path
) -> None:
    outer = make_composition("acme/zoo", [cat, pets])
    error = refused(lambda: publish([cat.folder, pets.folder, outer.folder], registry))
    assert error.code == "incomplete-composition"
    assert error.why is not None
    assert error.why.startswith("acme/zoo 1.0.0: acme/pets 1.0.0 is a composition")
    assert not registry.exists()


def test_a_composition_that_is_there_is_published_again_whatever_became_of_its_modules(
    cat: Distribution, pets: Distribution, registry: Path
) -> None:
    publish([cat.folder, pets.folder], registry)
    yank("digits/cat==1.2.0", "wrong labels", registry)

    (again,) = publish([pets.folder], registry)

    assert not again.is_new


def test_a_yanked_class_module_that_comes_again_is_still_yanked(
    cat: Distribution, pets: Distribution, registry: Path
) -> None:
    publish([cat.folder], registry)
    yank("digits/cat==1.2.0", "wrong labels", registry)

    error = refused(lambda: publish([cat.folder, pets.folder], registry))

    assert error.code == "incomplete-composition"
    assert error.why == "acme/pets 1.0.0: digits/cat 1.2.0 is yanked: wrong labels"
    assert not is_listed(registry)


@pytest.mark.usefixtures("pets")
def test_a_class_module_that_comes_with_other_bytes_is_refused_as_such(
    make_distribution: MakeDistribution, registry: Path, tmp_path: Path
) -> None:
    other = make_distribution("digits/cat", "1.2.0", summary="another", folder=tmp_path / "other")
    publish([other.folder], registry)

    error = refused(lambda: publish([tmp_path / "dist"], registry))

    assert error.code == "version-taken"
    assert not is_listed(registry)


def test_a_class_module_whose_yank_is_taken_back_is_good_again(
    cat: Distribution, pets: Distribution, registry: Path
) -> None:
    publish([cat.folder], registry)
    yank("digits/cat==1.2.0", "wrong labels", registry)
    assert refused(lambda: publish([pets.folder], registry)).code == "incomplete-composition"
    unyank("digits/cat==1.2.0", registry)
    publish([pets.folder], registry)
    assert is_listed(registry)


def test_other_bytes_under_the_version_of_a_composition_are_refused(
    make_composition: MakeComposition, cat: Distribution, pets: Distribution, registry: Path
) -> None:
    publish([cat.folder, pets.folder], registry)
    other = make_composition("acme/pets", [cat], summary="another")
    assert refused(lambda: publish([other.folder], registry)).code == "version-taken"


@pytest.mark.parametrize("name", ["README.md", "LICENSE"])
def test_a_composition_needs_a_card_and_a_license(
    make_composition: MakeComposition, cat: Distribution, registry: Path, name: str
) -> None:
    made = make_composition("acme/pets", [cat], without=[name])
    error = refused(lambda: publish([cat.folder, made.folder], registry))
    assert error.code == "incomplete-distribution"
    assert error.why is not None
    assert name in error.why
    assert not registry.exists()
