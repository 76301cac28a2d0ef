"""Searching all registries of a project for class modules and compositions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modpm.core.formats.names import ModuleName, normalize
from modpm.core.system.whole_files import explained
from modpm.registry.backends.shards import Entry
from modpm.registry.discovery.local_catalogue import Query, consult, known_names
from modpm.registry.projects.project import Project
from modpm.registry.projects.sources import Sources

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from modpm.core.errors import ModpmError
    from modpm.registry.addresses import Registries


class Found(Entry, frozen=True, kw_only=True):
    """What a search found under one name, by the release that stands for it."""

    name: ModuleName
    registry: str

    @property
    def is_composition(self) -> bool:
        """Whether it is a composition."""
        return self.kind == "composition"

    @property
    def recall(self) -> float | None:
        """The lowest recall of all splits; None if none was measured."""
        return min((metrics.recall for metrics in self.metrics), default=None)

    @property
    def precision(self) -> float | None:
        """The lowest precision of all splits; None if none was measured."""
        return min((metrics.precision for metrics in self.metrics), default=None)

    @property
    def accuracy(self) -> float | None:
        """The lowest accuracy that a composition was measured at; None if none was."""
        return min((one.accuracy for one in self.measured), default=None)


def search(
    text: str = "",
    project: str | os.PathLike[str] = ".",
    registry: Registries = None,
    *,
    label: str | None = None,
    namespace: str | None = None,
    min_recall: float | None = None,
    max_size_bytes: int | None = None,
    on_problem: Callable[[ModpmError], None] = lambda _problem: None,
) -> list[Found]:
    """Find modules in the registries of a project, sorted by name.

    Args:
        text: Words, each of which the name, label or summary holds, whatever its case.
        project: A folder in the project.
        registry: Search in this registry, or these, and no other.
        label: The class (`cat`), or the label with its namespace (`cifar10/cat`).
        namespace: The namespace.
        min_recall: Measured recall on every split at least; what was not measured, and
            compositions, are left out.
        max_size_bytes: Size of all files at most.
        on_problem: Told why a part of a registry's catalogue, which then hides nothing else,
            cannot be used.

    Raises:
        ModpmError: `invalid-name`, or what a registry raises.
    """
    place = Project.discover(project)
    sources = Sources.of(place, place.wishes(), registry)
    space = None if namespace is None else normalize(namespace)
    query = Query(text, label, space, min_recall, max_size_bytes)
    usable = sources.given or sources.usable
    bound = {**sources.preferred, **sources.bound}
    found: dict[ModuleName, Found] = {}
    with explained("search"):
        # A namespace of which nothing is said belongs to the first registry that has it (W-4).
        for address in reversed(usable):
            backend = address.open(place.root)
            (entries, namespaces), problems = consult(
                backend, space, lambda seen: (seen.find(query), seen.namespaces())
            )
            for problem in problems:
                on_problem(problem)
            owned = {n for n in namespaces if bound.get(n) not in {*usable} - {address}}
            found = {name: one for name, one in found.items() if name.namespace not in owned}
            for module, entry in entries.items():
                if module.namespace in owned:
                    fields = {name: getattr(entry, name) for name in entry.__struct_fields__}
                    found[module] = Found(**fields, name=module, registry=backend.location)
    return [found[module] for module in sorted(found)]


def complete(
    prefix: str = "", project: str | os.PathLike[str] = ".", registry: Registries = None
) -> list[str]:
    """Return names of modules that earlier searches have seen, without asking any registry.

    Args:
        prefix: What the names begin with.
        project: A folder in the project.
        registry: As for `search`.

    Raises:
        ModpmError: What reading the project raises.
    """
    place = Project.discover(project)
    sources = Sources.of(place, place.wishes(), registry)
    usable = sources.given or sources.usable
    return known_names([address.location(place.root) for address in usable], prefix)
