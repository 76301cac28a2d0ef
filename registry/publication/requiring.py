"""Whether a registry has, or is about to have, what compositions are made of (clause V-14)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modpm.core.errors import ModpmError
from modpm.core.formats.composition_manifest import ComposedModule, CompositionManifest
from modpm.core.formats.names import ModuleName
from modpm.registry.backends.publishing_plan import listed_index
from modpm.registry.index import CompositionRelease, Release, release_in

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from modpm.registry.backends.protocol import Backend
    from modpm.registry.backends.publishing_plan import Entry


def check_required(entries: Sequence[Entry], target: Backend) -> None:
    """Check that the class modules of compositions are in the registry, or come with them.

    What is there already, as it is, needs nothing: a module may have been yanked since.

    Args:
        entries: All that is to be published.
        target: The registry.

    Raises:
        ModpmError: `incomplete-composition`, naming every module that is not there as it must be.
    """
    known: dict[tuple[str, str], Release | None] = {
        (str(entry.module), entry.release.version): entry.release for entry in entries
    }
    lines = [
        f"{entry.module} {entry.release.version}: {named.name} {named.version} {why}"
        for entry in entries
        if entry.is_new
        for named, why in _obstacles(entry, known, target)
    ]
    if lines:
        raise ModpmError(
            "the registry does not have the class modules of a composition as it names them",
            code="incomplete-composition",
            where=f"registry {target.location}",
            why="\n".join(lines),
            hint="publish what is missing by the same command, or copy it with `modpm mirror`; "
            "where a release is yanked or another, compose and pack again; nothing was published",
        )


def _obstacles(
    entry: Entry, known: dict[tuple[str, str], Release | None], target: Backend
) -> Iterator[tuple[ComposedModule, str]]:
    manifest = entry.distribution.manifest
    for named in manifest.composition.modules if isinstance(manifest, CompositionManifest) else ():
        key = named.name, named.version
        if key not in known:
            index = listed_index(target, ModuleName.parse(named.name))
            known[key] = release_in(index, named.version)
        why = _obstacle(named, known[key])
        if why is not None:
            yield named, why


def _obstacle(named: ComposedModule, found: Release | None) -> str | None:
    if found is None:
        return "is not there"
    if isinstance(found, CompositionRelease):
        return "is a composition, and compositions are made of class modules"
    if found.digest != named.digest:
        return f"has digest {found.digest}, and the composition names {named.digest}"
    return None if found.yanked is None else f"is yanked: {found.yanked}"
