"""What is new, and that no composition is on its way before its class modules (V-14)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from modpm.core.errors import ModpmError
from modpm.registry.backends.publishing_plan import by_module, in_waves, planned
from modpm.registry.index import Release

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.registry.conftest import MakeComposition, MakeDistribution

    from modpm.registry.backends.publishing_plan import Entry


@pytest.fixture
def groups(
    make_distribution: MakeDistribution, make_composition: MakeComposition
) -> list[list[Entry]]:
    """Compositions first, one of them beside a class module of the same name."""
    cat, dog = make_distribution("digits/cat"), make_distribution("digits/dog")
    zoo = make_distribution("acme/zoo"), make_composition("acme/zoo", [cat], "2.0.0")
    names = [[make_composition("acme/pets", [cat, dog])], zoo, [cat], [dog]]
    return [planned(group, lambda _module, _version: None, "here") for group in names]


def test_names_with_compositions_come_after_all_others(groups: list[list[Entry]]) -> None:
    begun: list[str] = []

    def work(group: Sequence[Entry]) -> str:
        begun.append(str(group[0].module))
        return str(group[0].module)

    done = in_waves(work, groups, "modules cannot be published")

    assert sorted(begun[:2]) == ["digits/cat", "digits/dog"]
    assert sorted(done) == sorted(begun) == ["acme/pets", "acme/zoo", "digits/cat", "digits/dog"]


def test_no_composition_is_begun_where_a_class_module_fails(groups: list[list[Entry]]) -> None:
    begun: list[str] = []

    def work(group: Sequence[Entry]) -> None:
        begun.append(str(group[0].module))
        if str(group[0].module) == "digits/cat":
            raise ModpmError("the registry cannot be reached", code="network-failed")

    with pytest.raises(ModpmError) as caught:
        in_waves(work, groups, "modules cannot be published")

    assert caught.value.code == "network-failed"
    assert sorted(begun) == ["digits/cat", "digits/dog"]


def test_each_release_is_new_once(make_distribution: MakeDistribution) -> None:
    cat, dog = make_distribution("digits/cat"), make_distribution("digits/dog")
    there = Release.of_distribution(dog)

    entries = planned(
        [cat, dog, cat], lambda module, _version: there if module.name == "dog" else None, "here"
    )

    assert [(str(e.module), e.is_new) for e in entries] == [
        ("digits/cat", True),
        ("digits/dog", False),
        ("digits/cat", False),
    ]
    assert [[e.is_new for e in group] for group in by_module(entries)] == [[True, False], [False]]


@pytest.mark.parametrize("is_there", [False, True])
def test_other_bytes_under_one_version_are_refused(
    make_distribution: MakeDistribution, tmp_path: Path, is_there: bool
) -> None:
    cat = make_distribution("digits/cat")
    other = make_distribution("digits/cat", summary="Another", folder=tmp_path / "other")
    there = Release.of_distribution(other) if is_there else None

    with pytest.raises(ModpmError) as caught:
        planned([cat] if is_there else [cat, other], lambda _module, _version: there, "here")

    assert caught.value.code == "version-taken"
