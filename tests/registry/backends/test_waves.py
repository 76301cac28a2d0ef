"""No composition is on its way before the class modules are there (clause V-14)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest

from modpm.core.errors import ModpmError
from modpm.registry.backends.waves import in_waves
from modpm.registry.index import Release

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.registry.conftest import MakeComposition, MakeDistribution


class Entry(NamedTuple):
    name: str
    release: Release


@pytest.fixture
def groups(
    make_distribution: MakeDistribution, make_composition: MakeComposition
) -> list[list[Entry]]:
    """Compositions first, one of them beside a class module of the same name."""
    cat, dog = make_distribution("digits/cat"), make_distribution("digits/dog")
    zoo = make_distribution("acme/zoo"), make_composition("acme/zoo", [cat], "2.0.0")
    names = [[make_composition("acme/pets", [cat, dog])], zoo, [cat], [dog]]
    return [
        [Entry(one.manifest.name, Release.of_distribution(one)) for one in group] for group in names
    ]


def test_names_with_compositions_come_after_all_others(groups: list[list[Entry]]) -> None:
    begun: list[str] = []

    def work(group: Sequence[Entry]) -> str:
        begun.append(group[0].name)
        return group[0].name

    done = in_waves(work, groups, "modules cannot be published")

    assert sorted(begun[:2]) == ["digits/cat", "digits/dog"]
    assert sorted(done) == sorted(begun) == ["acme/pets", "acme/zoo", "digits/cat", "digits/dog"]


def test_no_composition_is_begun_where_a_class_module_fails(groups: list[list[Entry]]) -> None:
    begun: list[str] = []

    def work(group: Sequence[Entry]) -> None:
        begun.append(group[0].name)
        if group[0].name == "digits/cat":
            raise ModpmError("the registry cannot be reached", code="network-failed")

    with pytest.raises(ModpmError) as caught:
        in_waves(work, groups, "modules cannot be published")

    assert caught.value.code == "network-failed"
    assert sorted(begun) == ["digits/cat", "digits/dog"]
