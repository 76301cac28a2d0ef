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
from modpm.registry.pins.pinning import kept
from modpm.registry.projects.lockfile import Lockfile, Pin
from modpm.registry.projects.requirement_graph import RequirementGraph, draw, tree

if TYPE_CHECKING:
    from pathlib import Path

    from modpm.registry.projects.requirement_graph import Branch

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

    assert list(map(drawn, draw(graph))) == [
        (0, "top"),
        (1, "left"),
        (2, "end"),
        (1, "right"),
        (2, "end"),
    ]


def test_what_was_drawn_is_not_drawn_again() -> None:
    graph = graph_of(["a/x", "a/y"], x=["a/y"], y=["a/z"], z=[])

    assert list(map(drawn, draw(graph))) == [(0, "x"), (1, "y"), (2, "z"), (0, "y*")]


def test_an_inverted_tree_ends_with_who_asks() -> None:
    graph = graph_of(["a/top", "a/end"], top=["a/end"], end=[])

    assert list(map(drawn, draw(graph, invert=True))) == [
        (0, "end"),
        (1, "toml"),
        (1, "top"),
        (2, "toml"),
    ]


def test_a_namespace_asks_for_all_that_it_had() -> None:
    graph = graph_of(["a/*"], x=[], y=["b/*"])

    assert [b.requirement for b in draw(graph)] == ["a/*", "a/*"]


def test_modules_that_require_each_other_are_drawn_once() -> None:
    graph = graph_of(["a/x"], x=["a/y"], y=["a/x"])

    assert list(map(drawn, draw(graph))) == [(0, "x"), (1, "y"), (2, "x*")]
    assert {b.module for b in draw(graph, invert=True) if b.module} == set(graph.pins)


def test_a_tree_begins_where_it_is_told_to() -> None:
    graph = graph_of(["a/p"], p=["a/q", "a/r"], q=["a/r<2"], r=["a/end>=1"], end=[])
    named = [ModuleName("a", "r")]

    assert list(map(drawn, draw(graph, named))) == [(0, "r"), (1, "end")]
    assert list(map(drawn, draw(graph, named, invert=True))) == [
        (0, "r"),
        (1, "p"),
        (2, "toml"),
        (1, "q"),
        (2, "p*"),
    ]


def test_a_tree_has_no_more_levels_than_were_asked_for() -> None:
    graph = graph_of(["a/x", "a/z"], x=["a/y"], y=["a/z"], z=["a/end"], end=[])

    assert [drawn(b) for b in draw(graph, depth=0)] == [(0, "x"), (0, "z")]
    assert [drawn(b) for b in draw(graph, depth=1)] == [(0, "x"), (1, "y"), (0, "z"), (1, "end")]
    # What was cut off below one line is not said to be further up at another.
    assert [drawn(b) for b in draw(graph, depth=2)] == [
        *[(0, "x"), (1, "y"), (2, "z")],
        *[(0, "z"), (1, "end")],
    ]
    assert list(draw(graph, depth=9)) == list(draw(graph))


def test_without_a_lockfile_there_is_no_tree(project: Path) -> None:
    with pytest.raises(ModpmError) as caught:
        tree((), project)
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
        branches = list(draw(graph, invert=invert))
        assert {b.module for b in branches if b.module is not None} == set(graph.pins)
        n_edges = sum(map(len, graph.requires.values()))
        assert len(branches) <= n_edges + len(graph.pins)


def lock_requirements(lock: Lockfile) -> list[Requirement]:
    return [Requirement.parse(text) for text in lock.requirements]
