"""Searching all registries of a project for class modules and compositions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from modpm.core.formats.names import ModuleName, normalise
from modpm.registry.addresses import addresses, given_addresses
from modpm.registry.backends.protocol import Query
from modpm.registry.backends.scanning import labels_of
from modpm.registry.index import CompositionRelease, ModuleRelease
from modpm.registry.projects.project import Project
from modpm.registry.system.errors import explained

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from modpm.core.formats.manifest import ClassMetrics
    from modpm.core.formats.measurement import Measurement
    from modpm.registry.addresses import Address, Registries
    from modpm.registry.backends.protocol import Backend
    from modpm.registry.index import Release


@dataclass(frozen=True)
class Found:
    """What a search found under one name, by its newest release.

    Attributes:
        name: The module.
        version: The newest version that is not yanked; a pre-release only if there is no other.
        digest: Its digest.
        labels: The class of a module; all that a composition tells apart.
        is_composition: Whether it is a composition.
        summary: What it is, in words.
        license: Its license.
        size_bytes: What all its files take; those of a composition's class modules not.
        metrics: How well a module recognises its class, on each split that was measured.
        measured: What a composition was measured at.
        registry: The registry that owns the name.
    """

    name: ModuleName
    version: str
    digest: str
    labels: tuple[str, ...]
    is_composition: bool
    summary: str
    license: str
    size_bytes: int
    metrics: tuple[ClassMetrics, ...]
    measured: tuple[Measurement, ...]
    registry: str

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

    Raises:
        ModpmError: `invalid-name`, or what a registry raises.
    """
    place = Project.discover(project)
    of_project = place.wishes().registries
    given = given_addresses(registry, place.root, of_project)
    query = Query(text, label, None if namespace is None else normalise(namespace))
    with explained("search"):
        found = _search(given or addresses((), place.root, of_project), query, place)
    return [
        one
        for one in found
        if (min_recall is None or (one.recall is not None and one.recall >= min_recall))
        and (max_size_bytes is None or one.size_bytes <= max_size_bytes)
    ]


def _search(usable: Sequence[Address], query: Query, place: Project) -> list[Found]:
    found: dict[ModuleName, Found] = {}
    searched: list[Backend] = []
    for address in usable:
        backend = address.open(place.root)
        for index in backend.search(query):
            module = ModuleName.parse(index.name)
            # The first registry that has a name owns it, also where its module is another.
            is_elsewhere = module in found or any(b.index(module) is not None for b in searched)
            release = index.newest()
            if release is not None and not is_elsewhere:
                found[module] = _found(module, release, backend.location)
        searched.append(backend)
    return [found[module] for module in sorted(found)]


def _found(module: ModuleName, release: Release, location: str) -> Found:
    of_module = release if isinstance(release, ModuleRelease) else None
    composed = release.composition if isinstance(release, CompositionRelease) else None
    return Found(
        name=module,
        version=release.version,
        digest=release.digest,
        labels=labels_of(release),
        is_composition=composed is not None,
        summary=release.summary,
        license=release.license,
        size_bytes=release.size_bytes,
        metrics=tuple(of_module.metrics if of_module is not None else ()),
        measured=tuple(composed.measured if composed is not None else ()),
        registry=location,
    )
