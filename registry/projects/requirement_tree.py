"""Who requires what in a project, drawn as a tree, and why a module is there at all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from modpm.core.formats.names import ModuleName
from modpm.registry.projects.project import Project
from modpm.registry.projects.requirement_graph import RequirementGraph
from modpm.registry.projects.selection import not_locked
from modpm.registry.projects.staleness import lock_missing

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Sequence

    from modpm.registry.projects.requirement_graph import Edge


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


_Line = tuple[ModuleName | None, str | None]
"""A module, or None for `modpm.toml`, and what joins it to the line above."""


def requirements_of(project: str | os.PathLike[str] = ".") -> RequirementGraph:
    """Return who requires whom among the locked modules.

    Args:
        project: A folder in the project.

    Raises:
        ModpmError: `lock-missing` or `invalid-lock`.
    """
    place = Project.discover(project)
    lock = place.lock()
    if lock is None:
        raise lock_missing(place)
    return RequirementGraph(lock)


def tree(graph: RequirementGraph, *, invert: bool = False) -> Iterator[Branch]:
    """Draw what `modpm.toml` asks for, and below each module what it requires.

    Args:
        graph: Who requires whom.
        invert: Draw the modules that require nothing, and below each who requires it.
    """
    drawn: set[ModuleName] = set()
    if not invert:
        asked = {edge.module: edge.requirement for edge in reversed(graph.requires[None])}
        yield from _walk(sorted(asked.items()), _required(graph), graph, drawn)
        return
    ends = [module for module in graph.pins if not graph.requires[module]]
    # Modules that require each other have no end to begin at.
    for module in (*ends, *graph.pins):
        if module not in drawn:
            yield from _walk([(module, None)], _requiring(graph), graph, drawn)


def why(
    name: str, graph: RequirementGraph, project: str | os.PathLike[str] = "."
) -> list[tuple[Edge, ...]]:
    """Return why a module is locked: for everyone who requires it the shortest chain to there.

    Args:
        name: The module.
        graph: Who requires whom.
        project: A folder in the project.

    Raises:
        ModpmError: `invalid-name` or `not-locked`.
    """
    module = ModuleName.parse(name)
    if module not in graph.pins:
        raise not_locked(str(module), graph.pins, Project.discover(project))
    chains = [(graph.chains.get(edge.by, ()), edge) for edge in graph.required_by[module]]
    return [
        (*chain, edge)
        for chain, edge in chains
        if (chain or edge.by is None) and module not in {before.module for before in chain}
    ]


def _required(graph: RequirementGraph) -> Callable[[ModuleName], Sequence[_Line]]:
    return lambda module: [(edge.module, edge.requirement) for edge in graph.requires[module]]


def _requiring(graph: RequirementGraph) -> Callable[[ModuleName], Sequence[_Line]]:
    return lambda module: [(edge.by, edge.requirement) for edge in graph.required_by[module]]


def _walk(
    tops: Sequence[_Line],
    below: Callable[[ModuleName], Sequence[_Line]],
    graph: RequirementGraph,
    drawn: set[ModuleName],
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
        if not is_repeated:
            drawn.add(module)
            ends = [(*lasts, i == len(lines) - 1) for i in range(len(lines))]
            waiting += reversed(list(zip(lines, ends, strict=True)))
