"""Whether a registry has, or is about to have, what compositions are made of (clause V-14)."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

from modpm.core.errors import ModpmError
from modpm.core.formats.composition_manifest import CompositionManifest
from modpm.core.formats.names import ModuleName
from modpm.registry.index import CompositionRelease, Release
from modpm.registry.publication.listing import listed_release

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from modpm.core.formats.composition_manifest import ComposedModule
    from modpm.core.formats.distribution import Distribution
    from modpm.registry.backends.protocol import Backend

Find = Callable[[str, str], "Release | None"]


def modules_first(distributions: Sequence[Distribution]) -> list[Distribution]:
    """Return distributions in an order in which none comes before a class module it requires."""
    return sorted(distributions, key=_is_composition)


def check_required(distributions: Sequence[Distribution], target: Backend) -> None:
    """Check that the class modules of compositions are in the registry, or come with them.

    Args:
        distributions: All that is to be published.
        target: The registry.

    Raises:
        ModpmError: `incomplete-composition`, naming every module that is not there as it must be.
    """
    coming = {
        (one.manifest.name, one.manifest.version): Release.of_distribution(one)
        for one in distributions
    }

    @cache
    def listed(name: str, version: str) -> Release | None:
        return listed_release(target, ModuleName.parse(name), version)

    def find(name: str, version: str) -> Release | None:
        """Give what will be there: what is yanked stays so, whatever is published again."""
        comes, there = coming.get((name, version)), listed(name, version)
        is_taken = comes is not None and there is not None and comes.digest != there.digest
        return comes if there is None or is_taken else there

    def is_there(one: Distribution) -> bool:
        """Tell whether publishing changes nothing: a module may have been yanked since."""
        found = listed(one.manifest.name, one.manifest.version)
        return found is not None and found.digest == one.digest

    lines = [
        f"{one.manifest.name} {one.manifest.version}: {line}"
        for one in distributions
        if isinstance(one.manifest, CompositionManifest) and not is_there(one)
        for line in _missing(one.manifest, find)
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


def _is_composition(distribution: Distribution) -> bool:
    return isinstance(distribution.manifest, CompositionManifest)


def _missing(manifest: CompositionManifest, find: Find) -> Iterator[str]:
    for one in manifest.composition.modules:
        why = _obstacle(one, find(one.name, one.version))
        if why is not None:
            yield f"{one.name} {one.version} {why}"


def _obstacle(named: ComposedModule, found: Release | None) -> str | None:
    if found is None:
        return "is not there"
    if isinstance(found, CompositionRelease):
        return "is a composition, and compositions are made of class modules"
    if found.digest != named.digest:
        return f"has digest {found.digest}, and the composition names {named.digest}"
    return None if found.yanked is None else f"is yanked: {found.yanked}"
