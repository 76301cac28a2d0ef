"""Who requires whom among the pins of a lockfile."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from modpm.core.formats.requirements import Requirement

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from modpm.core.formats.names import ModuleName
    from modpm.registry.projects.lockfile import Lockfile, Pin


class Edge(NamedTuple):
    """One thing that a requirement asks for.

    Attributes:
        requirement: The requirement.
        module: What is pinned for it.
    """

    requirement: str
    module: ModuleName


class RequirementGraph:
    """The pins of a lockfile as a graph.

    Attributes:
        pins: Module to pin, by name.
        roots: What `modpm.toml` asks for.
        requires: Module to what its release asks for.
    """

    def __init__(self, lock: Lockfile) -> None:
        self._of_namespace: dict[str, list[ModuleName]] = {}
        self.pins: Mapping[ModuleName, Pin] = {pin.module: pin for pin in lock.pins}
        for module in self.pins:
            self._of_namespace.setdefault(module.namespace, []).append(module)
        self.roots: Sequence[Edge] = self.edges(lock.requirements)
        self.requires = {module: self.edges(pin.requires) for module, pin in self.pins.items()}

    def edges(self, requirements: Iterable[str]) -> list[Edge]:
        """Return what is pinned for requirements; for a whole namespace, all modules of it."""
        parsed = {text: Requirement.parse(text, "modpm.lock") for text in requirements}
        return [
            Edge(text, module)
            for text, requirement in parsed.items()
            for module in self._meant(requirement)
        ]

    def required_by(self) -> dict[ModuleName, list[Edge]]:
        """Return for each module who asks for it, and how; `modpm.toml` is not among them."""
        found: dict[ModuleName, list[Edge]] = {module: [] for module in self.pins}
        for module, edges in self.requires.items():
            for edge in edges:
                found[edge.module].append(Edge(edge.requirement, module))
        return found

    def _meant(self, requirement: Requirement) -> list[ModuleName]:
        if requirement.module is None:
            return self._of_namespace.get(requirement.namespace, [])
        return [requirement.module] if requirement.module in self.pins else []


def reached(
    modules: Iterable[ModuleName], edges: Mapping[ModuleName, Sequence[Edge]]
) -> set[ModuleName]:
    """Return modules and everything that edges lead to from them."""
    found: set[ModuleName] = set()
    waiting = deque(modules)
    while waiting:
        module = waiting.popleft()
        if module not in found:
            found.add(module)
            waiting += [edge.module for edge in edges[module]]
    return found
