"""Who requires whom among the pins of a lockfile, and whether it is what its project says."""

from __future__ import annotations

from collections import deque
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from modpm.core.errors import ModpmError, suggestion
from modpm.core.formats.names import ModuleName
from modpm.core.formats.requirements import Requirement
from modpm.registry.projects.lockfile import Lockfile, changes_between
from modpm.registry.projects.project import LOCK_FILE, PROJECT_FILE, Project

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from modpm.registry.projects.lockfile import Pin
    from modpm.registry.projects.project import Wishes
    from modpm.registry.projects.sources import Sources


class Edge(NamedTuple):
    """Somebody, None for `modpm.toml`, requires what is pinned as a module, in some words."""

    by: ModuleName | None
    requirement: str
    module: ModuleName


class RequirementGraph:
    """The pins of a lockfile as a graph.

    Attributes:
        pins: Module to pin, by name.
        requires: Module to what its release asks for; None to what `modpm.toml` does.
    """

    def __init__(self, lock: Lockfile) -> None:
        self._of_namespace: dict[str, list[ModuleName]] = {}
        self._parsed: dict[str, Requirement] = {}
        self.pins: Mapping[ModuleName, Pin] = {pin.module: pin for pin in lock.pins}
        for module in self.pins:
            self._of_namespace.setdefault(module.namespace, []).append(module)
        self._asking: dict[ModuleName | None, Sequence[str]] = {
            None: lock.requirements,
            **{m: pin.requires for m, pin in self.pins.items()},
        }
        self.requires: Mapping[ModuleName | None, Sequence[Edge]] = {
            by: [
                Edge(by, text, module) for text in dict.fromkeys(texts) for module in self._of(text)
            ]
            for by, texts in self._asking.items()
        }

    @cached_property
    def required_by(self) -> Mapping[ModuleName, Sequence[Edge]]:
        """For each module who asks for it: `modpm.toml` first, and then others by name."""
        found: dict[ModuleName, list[Edge]] = {module: [] for module in self.pins}
        for edges in self.requires.values():
            for edge in edges:
                found[edge.module].append(edge)
        return found

    @cached_property
    def reached(self) -> set[ModuleName | None]:
        """Everything that `modpm.toml` leads to."""
        found: set[ModuleName | None] = {None}
        waiting: list[ModuleName | None] = [None]
        while waiting:
            new = [e.module for e in self.requires[waiting.pop()] if e.module not in found]
            found.update(new)
            waiting += new
        return found

    def problems(self) -> Iterator[str]:
        """Give what no pin meets, and pins that nothing leads to."""
        yield from self.unmet()
        for module, pin in self.pins.items():
            if module not in self.reached:
                yield f"`{module}` {pin.version} is locked, and nothing asks for it"

    def unmet(self) -> Iterator[str]:
        """Give what no pin meets."""
        for by, texts in self._asking.items():
            for text in texts:
                asks, found = f"`{by or 'modpm.toml'}` asks for `{text}`", self._of(text)
                if not found:
                    yield f"{asks}, and none is locked"
                for module in found:
                    version = self.pins[module].version
                    if not self._parsed[text].admits(version) and self._is_meant(text, module):
                        yield f"{asks}, and `{module}` {version} is locked"

    def _is_meant(self, text: str, module: ModuleName) -> bool:
        """Tell whether a requirement is about a module, which one on its namespace need not be.

        It is not where the module came later, and for others, who say what they need of it.
        """
        others = (edge for edge in self.required_by[module] if edge.requirement != text)
        return self._parsed[text].name is not None or not any(others)

    def _of(self, text: str) -> Sequence[ModuleName]:
        """Return what is pinned for a requirement; for a whole namespace, all modules of it."""
        requirement = self._parsed.setdefault(text, Requirement.parse(text, "modpm.lock"))
        if requirement.module is None:
            return self._of_namespace.get(requirement.namespace, [])
        return [requirement.module] if requirement.module in self.pins else []


def not_locked(name: str, locked: Iterable[ModuleName], place: Project) -> ModpmError:
    """Return the error of a module that `modpm.lock` does not have."""
    names = sorted(map(str, locked))
    return ModpmError(
        f"`{name}` is not locked",
        code="not-locked",
        where=str(place.lock_path),
        why=f"locked are: {', '.join(names) or 'no modules'}",
        hint=suggestion(name, names, f"run `modpm install {name}`"),
    )


def lock_problems(lock: Lockfile, wishes: Wishes, sources: Sources) -> list[str]:
    """Return everything in which a lockfile is not what `modpm.toml` says, or would (L-9)."""
    unmet = RequirementGraph(lock).problems()
    return [*sources.problems(lock.pins).values(), *_other_wishes(wishes, lock), *unmet]


def out_of_date(place: Project, problems: Sequence[str]) -> ModpmError:
    """Return the error of a lockfile that may not change, and has to."""
    return ModpmError(
        f"`{LOCK_FILE}` is out of step with `{PROJECT_FILE}`",
        code="lock-out-of-date",
        where=str(place.lock_path),
        why="\n".join(problems) or "files of its modules are not those that registries list",
        hint="run `modpm lock`, and look at what it changes",
    )


def _other_wishes(wishes: Wishes, lock: Lockfile) -> Iterator[str]:
    wanted = Lockfile.of(wishes.all_requirements(), ()).requirements
    for text in wanted:
        if text not in lock.requirements:
            yield f"`{text}` is asked for, and not locked"
    for text in lock.requirements:
        if text not in wanted:
            yield f"`{text}` is locked, and not asked for"
    if wishes.same_origin != lock.same_origin:
        yield f"`same-origin` is {str(wishes.same_origin).lower()} now"


def other_pins(lock: Lockfile, chosen: Lockfile) -> Iterator[str]:
    """Give the versions in which a lockfile is not what it would become."""
    for change in changes_between(lock, chosen):
        if change.after is None:
            yield f"`{change.name}` {change.before} would go"
        elif change.before is None:
            yield f"`{change.name}` {change.after} would come"
        else:
            yield f"`{change.name}` {change.before} would be {change.after}"


class Branch(NamedTuple):
    """One line of a tree.

    Attributes:
        module: The module; None for `modpm.toml`.
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
    """Who requires whom among all that is locked, and the lines of the drawing."""

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
