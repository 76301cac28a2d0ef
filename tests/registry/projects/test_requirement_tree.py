from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modpm.core.errors import ModpmError
from modpm.core.formats.manifest import MANIFEST_FILE, FileRecord
from modpm.core.formats.names import ModuleName
from modpm.core.formats.requirements import Requirement
from modpm.registry.addresses import Address
from modpm.registry.pins.keeping import kept
from modpm.registry.projects.lockfile import Lockfile, Pin
from modpm.registry.projects.requirement_graph import RequirementGraph
from modpm.registry.projects.requirement_tree import requirements_of, tree, why

if TYPE_CHECKING:
    from pathlib import Path

    from modpm.registry.projects.requirement_tree import Branch

DIGEST = "sha256:" + "1" * 64
FILES = {MANIFEST_FILE: FileRecord(size_bytes=1, digest=DIGEST)}


def graph_of(asked: list[str], **requires: list[str]) -> RequirementGraph:
    """Return a graph of modules of the namespace `a`."""
    return RequirementGraph(lock_of(asked, **requires))


def lock_of(asked: list[str], **requires: list[str]) -> Lockfile:
    registry = Address("r", "r")
    pins = [
        Pin(ModuleName("a", name), "1.0.0", DIGEST, registry, FILES, tuple(texts))
        for name, texts in requires.items()
    ]
    return Lockfile(tuple(sorted(asked)), tuple(sorted(pins, key=lambda pin: pin.module)))


def drawn(branch: Branch) -> tuple[int, str]:
    name = "toml" if branch.module is None else branch.module.name
    return len(branch.lasts), name + ("*" if branch.is_repeated else "")


def test_a_tree_has_what_is_asked_at_the_top_and_below_what_that_requires() -> None:
    graph = graph_of(["a/top"], top=["a/left", "a/right"], left=["a/end"], right=["a/end"], end=[])

    assert list(map(drawn, tree(graph))) == [
        (0, "top"),
        (1, "left"),
        (2, "end"),
        (1, "right"),
        (2, "end"),
    ]


def test_what_was_drawn_is_not_drawn_again() -> None:
    graph = graph_of(["a/x", "a/y"], x=["a/y"], y=["a/z"], z=[])

    assert list(map(drawn, tree(graph))) == [(0, "x"), (1, "y"), (2, "z"), (0, "y*")]


def test_an_inverted_tree_ends_with_who_asks() -> None:
    graph = graph_of(["a/top", "a/end"], top=["a/end"], end=[])

    assert list(map(drawn, tree(graph, invert=True))) == [
        (0, "end"),
        (1, "toml"),
        (1, "top"),
        (2, "toml"),
    ]


def test_a_namespace_asks_for_all_that_it_had() -> None:
    graph = graph_of(["a/*"], x=[], y=["b/*"])

    assert [b.requirement for b in tree(graph)] == ["a/*", "a/*"]


def test_modules_that_require_each_other_are_drawn_once() -> None:
    graph = graph_of(["a/x"], x=["a/y"], y=["a/x"])

    assert list(map(drawn, tree(graph))) == [(0, "x"), (1, "y"), (2, "x*")]
    assert {b.module for b in tree(graph, invert=True) if b.module} == set(graph.pins)
    assert len(why("a/y", graph)) == 1


def test_why_gives_the_shortest_chain_through_everyone_who_requires_it() -> None:
    graph = graph_of(["a/p", "a/end"], p=["a/q", "a/r"], q=["a/r<2"], r=["a/end>=1"], end=[])

    chains = [[step.requirement for step in chain] for chain in why("a/end", graph)]

    assert chains == [["a/end"], ["a/p", "a/r", "a/end>=1"]]
    through_r = [[step.requirement for step in chain] for chain in why("a/r", graph)]
    assert through_r == [["a/p", "a/r"], ["a/p", "a/q", "a/r<2"]]


def test_who_is_locked_for_nothing_is_no_reason() -> None:
    graph = graph_of(["a/end"], stray=["a/end"], end=[])

    assert [[step.requirement for step in chain] for chain in why("a/end", graph)] == [["a/end"]]
    assert why("a/stray", graph) == []


def test_what_is_not_locked_has_no_reason() -> None:
    with pytest.raises(ModpmError) as caught:
        why("a/enb", graph_of(["a/end"], end=[]))
    assert caught.value.code == "not-locked"
    assert caught.value.hint == "did you mean `a/end`?"


def test_without_a_lockfile_there_is_no_tree(project: Path) -> None:
    with pytest.raises(ModpmError) as caught:
        requirements_of(project)
    assert caught.value.code == "lock-missing"


@given(st.integers(0, 2**32), st.integers(1, 12))
def test_every_module_is_drawn_and_reached_from_the_top(seed: int, n: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - a graph, not a secret
    requires = {f"m{i}": [f"a/m{j}" for j in range(n) if chance.random() < 0.25] for i in range(n)}
    asked = [f"a/m{i}" for i in range(n) if chance.random() < 0.4] or ["a/m0"]
    lock = lock_of(asked, **requires)
    part = kept(lock, lock_requirements(lock), same_origin=False)
    assert part is not None
    graph = RequirementGraph(part)

    for invert in (False, True):
        branches = list(tree(graph, invert=invert))
        assert {b.module for b in branches if b.module is not None} == set(graph.pins)
        n_edges = sum(map(len, graph.requires.values()))
        assert len(branches) <= n_edges + len(graph.pins)
    for module in graph.pins:
        for chain in why(str(module), graph):
            assert chain[0].by is None
            assert chain[-1].module == module
            assert [step.module for step in chain[:-1]] == [step.by for step in chain[1:]]


def lock_requirements(lock: Lockfile) -> list[Requirement]:
    return [Requirement.parse(text) for text in lock.requirements]
