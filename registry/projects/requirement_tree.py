"""Who requires what in a project, drawn as a tree, and why a module is there at all."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from modpm.core.formats.names import ModuleName
from modpm.registry.projects.project import Project
from modpm.registry.projects.requirement_graph import Edge, RequirementGraph, reached
from modpm.registry.projects.selection import not_locked
from modpm.registry.projects.staleness import lock_missing

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Mapping, Sequence


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


class Step(NamedTuple):
    """One link of a chain: somebody requires a module.

    Attributes:
        by: Who; None for `modpm.toml`.
        requirement: In which words.
        module: What.
    """

    by: ModuleName | None
    requirement: str
    module: ModuleName


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
    if not invert:
        asked = {edge.module: edge.requirement for edge in reversed(graph.roots)}
        tops: list[_Line] = [(module, asked[module]) for module in sorted(asked)]
        yield from _walk(tops, _required(graph), graph)
        return
    leaves = [module for module, edges in graph.requires.items() if not edges]
    # Modules that require each other have no end to begin at.
    circles = sorted(graph.pins.keys() - reached(leaves, graph.required_by()))
    yield from _walk([(m, None) for m in (*leaves, *circles)], _requiring(graph), graph)


def why(
    name: str, graph: RequirementGraph, project: str | os.PathLike[str] = "."
) -> list[tuple[Step, ...]]:
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
    shortest = _shortest_chains(graph)
    direct = [(Step(None, e.requirement, module),) for e in graph.roots if e.module == module]
    through = [
        (*shortest[edge.module], Step(edge.module, edge.requirement, module))
        for edge in graph.required_by()[module]
        if module not in {step.module for step in shortest[edge.module]}
    ]
    return [*direct, *through]


def _required(graph: RequirementGraph) -> Callable[[ModuleName], Sequence[_Line]]:
    return lambda module: [(edge.module, edge.requirement) for edge in graph.requires[module]]


def _requiring(graph: RequirementGraph) -> Callable[[ModuleName], Sequence[_Line]]:
    required_by = graph.required_by()
    asked: dict[ModuleName, list[_Line]] = {}
    for edge in graph.roots:
        asked.setdefault(edge.module, []).append((None, edge.requirement))
    return lambda module: [
        *asked.get(module, []),
        *((edge.module, edge.requirement) for edge in required_by[module]),
    ]


def _walk(
    tops: Sequence[_Line],
    below: Callable[[ModuleName], Sequence[_Line]],
    graph: RequirementGraph,
) -> Iterator[Branch]:
    drawn: set[ModuleName] = set()
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


def _shortest_chains(graph: RequirementGraph) -> Mapping[ModuleName, tuple[Step, ...]]:
    chains: dict[ModuleName, tuple[Step, ...]] = {}
    waiting: deque[tuple[Step, tuple[Step, ...]]] = deque()
    waiting += [(Step(None, edge.requirement, edge.module), ()) for edge in graph.roots]
    while waiting:
        step, before = waiting.popleft()
        if step.module not in chains:
            chains[step.module] = (*before, step)
            edges: Sequence[Edge] = graph.requires[step.module]
            for edge in edges:
                link = Step(step.module, edge.requirement, edge.module)
                waiting.append((link, chains[step.module]))
    return chains
