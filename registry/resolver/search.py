"""The search for a resolution, by the solver."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from nab_resolver.errors import ResolutionError, ResolutionTerminatedError
from nab_resolver.resolver import Resolver
from nab_resolver.types import RootRequirement

from modpm.core.formats.names import ModuleName
from modpm.registry.resolver.derivation import Derivation
from modpm.registry.resolver.explanation import Explanation
from modpm.registry.resolver.origins import ORIGIN, OriginPackage
from modpm.registry.resolver.provider import Provider
from modpm.registry.resolver.version_sets import VersionSet

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from modpm.registry.index import Release
    from modpm.registry.resolver.candidates import Candidates
    from modpm.registry.resolver.demands import Asked
    from modpm.registry.resolver.packages import Package
    from modpm.registry.resolver.shelves import Shelves


def search(
    asked: Sequence[Asked], shelves: Shelves, *, same_origin: bool, limit_seconds: float
) -> dict[ModuleName, Release]:
    """Find a release for each module.

    Args:
        asked: What is asked for directly, by name.
        shelves: All releases.
        same_origin: Choose what is asked for directly from one origin.
        limit_seconds: How long it may take.

    Raises:
        ModpmError: `resolving-takes-too-long`.
        ResolutionError: As `resolve` says.
    """
    packages: dict[str, Package] = {}
    roots = list(_roots(asked, shelves))
    bound = _bound_to_an_origin(asked, shelves) if same_origin else []
    if bound:
        packages[ORIGIN] = origins = OriginPackage(bound)
        roots.append(RootRequirement(ORIGIN, origins.everything, "one origin is asked for"))
    provider = Provider(shelves, [one.module for one in asked], packages, limit_seconds)
    # What ends a search that goes on is the time.
    resolver = Resolver(provider, max_iterations=sys.maxsize, range_type=VersionSet)
    try:
        pins = resolver.resolve(roots)
    except ResolutionError as failure:
        proof = failure.incompatibility
        if proof is None or isinstance(failure, ResolutionTerminatedError):
            raise  # a fault of the solver, and nothing that a user could mend
        raise Explanation(Derivation(proof, provider.package), shelves).error() from None
    return _releases(pins, shelves)


def _bound_to_an_origin(
    asked: Sequence[Asked], shelves: Shelves
) -> list[tuple[Candidates, VersionSet]]:
    """Return what is asked for but compositions, which have no origin (clause N-17)."""
    every = [(shelves.candidates(one.module), one.fitting) for one in asked]
    return [(c, fitting) for c, fitting in every if not (fitting - c.without_origin).is_empty]


def _roots(asked: Sequence[Asked], shelves: Shelves) -> Iterator[RootRequirement[str, int]]:
    """Give each demand by itself, so that a proof can name the one that is in the way."""
    for one in asked:
        candidates = shelves.candidates(one.module)
        choice = candidates.plain | one.fitting
        for demand in one.demands:
            accepted = candidates.accepted([demand.requirement])
            yield RootRequirement(str(one.module), accepted & choice, demand)


def _releases(pins: Mapping[str, int], shelves: Shelves) -> dict[ModuleName, Release]:
    chosen: dict[ModuleName, Release] = {}
    for name, position in pins.items():
        if name != ORIGIN:
            module = ModuleName(*name.split("/"))
            chosen[module] = shelves.candidates(module).releases[position]
    return dict(sorted(chosen.items()))
