"""Who requires what in a project, drawn as a tree."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from modpm.core.formats.names import ModuleName
from modpm.registry.projects.project import Project
from modpm.registry.projects.requirement_graph import RequirementGraph
from modpm.registry.projects.selection import not_locked
from modpm.registry.projects.staleness import lock_missing

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator


@dataclass(frozen=True)
class Branch:
    """One line of a tree.

    Attributes:
        module: The module; None for `modpm.toml`.
        version: Its version.
        requirement: What joins it to the line that it hangs on; None for one that hangs on none.
        lasts: For each level from the top, whether nothing follows at this level; none at the top.
        is_repeated: What hangs on it is drawn further up.
    """

    module: ModuleName | None
    version: str | None
    requirement: str | None
    lasts: tuple[bool, ...]
    is_repeated: bool


class Tree(NamedTuple):
    """Who requires whom, drawn.

    Attributes:
        graph: Who requires whom among all that is locked.
        branches: The lines of the drawing.
    """

    graph: RequirementGraph
    branches: Sequence[Branch]


_Line = tuple[ModuleName | None, str | None]
"""A module, or None for `modpm.toml`, and what joins it to the line above."""

_Below = Callable[[ModuleName], Sequence[_Line]]
"""Gives the lines that hang on a module."""


def tree(
    names: Sequence[str] = (),
    project: str | os.PathLike[str] = ".",
    *,
    invert: bool = False,
    depth: int | None = None,
) -> Tree:
    """Draw what `modpm.toml` asks for, and below each module what it requires.

    Args:
        names: Modules to begin at, in place of what `modpm.toml` asks for.
        project: A folder in the project.
        invert: Draw below each module who requires it; without names, begin at the modules that
            require nothing.
        depth: How many levels to draw below the first; None for all.

    Raises:
        ModpmError: `lock-missing` or `invalid-lock`; `invalid-name` or `not-locked`.
    """
    place = Project.discover(project)
    lock = place.lock()
    if lock is None:
        raise lock_missing(place)
    graph = RequirementGraph(lock)
    named = [_locked(name, graph, place) for name in names]
    return Tree(graph, list(draw(graph, named, invert=invert, depth=depth)))


def draw(
    graph: RequirementGraph,
    named: Sequence[ModuleName] = (),
    *,
    invert: bool = False,
    depth: int | None = None,
) -> Iterator[Branch]:
    """Draw a graph, as `tree`."""
    below = _requiring(graph) if invert else _required(graph)
    tops: list[_Line] = [(module, None) for module in named]
    if not tops:
        tops = _ends(graph, below) if invert else _asked(graph)
    yield from _walk(tops, below, graph, set(), depth)


def _asked(graph: RequirementGraph) -> list[_Line]:
    asked = {edge.module: edge.requirement for edge in reversed(graph.requires[None])}
    return [*sorted(asked.items())]


def _ends(graph: RequirementGraph, below: _Below) -> list[_Line]:
    """Return the modules that require nothing; of those that require each other, the first."""
    drawn: set[ModuleName] = set()
    ends: list[_Line] = []
    for module in (*(one for one in graph.pins if not graph.requires[one]), *graph.pins):
        if module not in drawn:
            ends.append((module, None))
            deque(_walk(ends[-1:], below, graph, drawn, None), maxlen=0)
    return ends


def _locked(name: str, graph: RequirementGraph, place: Project) -> ModuleName:
    module = ModuleName.parse(name)
    if module not in graph.pins:
        raise not_locked(str(module), graph.pins, place)
    return module


def _required(graph: RequirementGraph) -> _Below:
    return lambda module: [(edge.module, edge.requirement) for edge in graph.requires[module]]


def _requiring(graph: RequirementGraph) -> _Below:
    return lambda module: [(edge.by, edge.requirement) for edge in graph.required_by[module]]


def _walk(
    tops: Sequence[_Line],
    below: _Below,
    graph: RequirementGraph,
    drawn: set[ModuleName],
    depth: int | None,
) -> Iterator[Branch]:
    waiting: list[tuple[_Line, tuple[bool, ...]]] = [(line, ()) for line in reversed(tops)]
    while waiting:
        (module, requirement), lasts = waiting.pop()
        if module is None:
            yield Branch(None, None, requirement, lasts, is_repeated=False)
            continue
        lines = below(module)
        is_repeated = module in drawn and bool(lines)
        yield Branch(module, graph.pins[module].version, requirement, lasts, is_repeated)
        if not (is_repeated or len(lasts) == depth):
            drawn.add(module)
            ends = [(*lasts, i == len(lines) - 1) for i in range(len(lines))]
            waiting += reversed(list(zip(lines, ends, strict=True)))
