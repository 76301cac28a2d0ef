"""Who requires what in a project, drawn as a tree."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from modpm.core.formats.names import ModuleName
from modpm.registry.projects.project import Project
from modpm.registry.projects.requirement_graph import RequirementGraph
from modpm.registry.projects.selection import not_locked

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Sequence


class Branch(NamedTuple):
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
    graph = RequirementGraph(place.locked())
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
    tops: list[_Line] = [(module, None) for module in named]
    if not tops:
        tops = _ends(graph) if invert else _asked(graph)
    yield from _walk(tops, graph, set(), depth, invert=invert)


def _asked(graph: RequirementGraph) -> list[_Line]:
    asked = {edge.module: edge.requirement for edge in reversed(graph.requires[None])}
    return [*sorted(asked.items())]


def _ends(graph: RequirementGraph) -> list[_Line]:
    """Return the modules that require nothing; of those that require each other, the first."""
    drawn: set[ModuleName | None] = set()
    ends: list[_Line] = []
    for module in (*(one for one in graph.pins if not graph.requires[one]), *graph.pins):
        if module not in drawn:
            ends.append((module, None))
            deque(_walk(ends[-1:], graph, drawn, None, invert=True), maxlen=0)
    return ends


def _locked(name: str, graph: RequirementGraph, place: Project) -> ModuleName:
    module = ModuleName.parse(name)
    if module not in graph.pins:
        raise not_locked(str(module), graph.pins, place)
    return module


def _below(graph: RequirementGraph, module: ModuleName | None, *, invert: bool) -> list[_Line]:
    if invert:
        edges = () if module is None else graph.required_by[module]
        return [(edge.by, edge.requirement) for edge in edges]
    return [(edge.module, edge.requirement) for edge in graph.requires[module]]


def _walk(
    tops: Sequence[_Line],
    graph: RequirementGraph,
    drawn: set[ModuleName | None],
    depth: int | None,
    *,
    invert: bool,
) -> Iterator[Branch]:
    waiting: list[tuple[_Line, tuple[bool, ...]]] = [(line, ()) for line in reversed(tops)]
    while waiting:
        (module, requirement), lasts = waiting.pop()
        lines = _below(graph, module, invert=invert)
        is_repeated = module in drawn and bool(lines)
        version = None if module is None else graph.pins[module].version
        yield Branch(module, version, requirement, lasts, is_repeated)
        if not (is_repeated or len(lasts) == depth):
            drawn.add(module)
            ends = [(*lasts, i == len(lines) - 1) for i in range(len(lines))]
            waiting += reversed(list(zip(lines, ends, strict=True)))
