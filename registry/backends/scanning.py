"""Listing and searching a registry that can do neither: all of it is read and looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modpm.core.formats.names import ModuleName
from modpm.registry.index import CompositionRelease, ModuleRelease
from modpm.registry.system.threads import in_threads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from modpm.registry.backends.protocol import Backend, Query
    from modpm.registry.index import Index, Release

REMOTE_AT_ONCE = 64
"""How many indexes are asked for together where a server is far away."""


def scan(backend: Backend, query: Query, n_at_once: int = 1) -> Iterator[Index]:
    """Give the indexes of the modules that meet a query, sorted by name.

    Args:
        backend: The registry.
        query: What is wanted.
        n_at_once: How many indexes are asked for together; several where each takes a while.
    """
    names = backend.names(query.namespace)
    for first in range(0, len(names), n_at_once):
        some = names[first : first + n_at_once]
        for index in in_threads(backend.index, some, "indexes cannot be read"):
            if index is not None and meets(index, query):
                yield index


def meets(index: Index, query: Query) -> bool:
    """Tell whether the newest release of a name meets a query."""
    release = index.newest()
    if release is None:
        return False
    namespace, _, _ = index.name.partition("/")
    if query.namespace is not None and query.namespace != namespace:
        return False
    labels = labels_of(release)
    named = {name for label in labels for name in (label, label.partition("/")[2])}
    if query.label is not None and query.label not in named:
        return False
    text = f"{index.name} {' '.join(labels)} {release.summary}".casefold()
    return all(word in text for word in query.text.casefold().split())


def modules_in(
    namespaces: Sequence[str], names_in: Callable[[str], Sequence[str]]
) -> list[ModuleName]:
    """Return the modules of some namespaces, in their order, of a registry that is far away.

    Args:
        namespaces: In normal form.
        names_in: Lists the names of one.
    """
    listed = in_threads(names_in, namespaces, "names cannot be listed")
    pairs = zip(namespaces, listed, strict=True)
    return [ModuleName(space, name) for space, names in pairs for name in names]


def labels_of(release: Release) -> tuple[str, ...]:
    """Return what a release recognises: one label, or those of a composition."""
    if isinstance(release, CompositionRelease):
        return tuple(release.composition.labels)
    return (release.label,) if isinstance(release, ModuleRelease) else ()
