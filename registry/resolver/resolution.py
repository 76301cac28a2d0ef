"""Resolution: one release for each module that is asked for, or why there is none.

The solver is PubGrub's. The result depends on what is asked and listed, and not on any order.
"""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING

from nab_resolver.errors import ResolutionError, ResolutionTerminatedError
from nab_resolver.resolver import Resolver
from nab_resolver.types import RootRequirement

from modpm.core.formats.names import ModuleName
from modpm.registry.resolver.explanation import Explanation
from modpm.registry.resolver.origins import ORIGIN, OriginPackage
from modpm.registry.resolver.provider import Provider
from modpm.registry.resolver.refusals import Demand, fitting
from modpm.registry.resolver.shelves import Shelves
from modpm.registry.resolver.version_sets import VersionSet

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from packaging.version import Version

    from modpm.registry.index import Release
    from modpm.registry.resolver.shelves import Catalogue


def resolve(
    demands: Sequence[Demand],
    catalogue: Catalogue,
    locked: Mapping[ModuleName, Version] | None = None,
    *,
    same_origin: bool = False,
    limit_seconds: float = math.inf,
    until: str | None = None,
) -> dict[ModuleName, Release]:
    """Choose one release for every module that is asked for, directly or by a chosen release.

    Args:
        demands: What is asked for.
        catalogue: What can be chosen from.
        locked: Versions to keep where they still satisfy what is asked, yanked or not.
        same_origin: Choose the modules that are asked for directly from one origin.
        limit_seconds: How long the search may take; waiting for registries does not count.
        until: Releases published after this (as an index writes times) are as if absent, but for
            those to keep.

    Returns:
        Module to release, by name.

    Raises:
        ModpmError: `unknown-module`, `unknown-namespace` or `unknown-tag`, for what is asked;
            `resolving-takes-too-long`; whatever else the catalogue raises.
        ResolutionError: `no-version-fits`, `conflict` or `no-common-origin`; or one of those
            above, for what a release requires.
    """
    shelves = Shelves(catalogue, locked or {}, until)
    asked = _asked(demands, shelves)
    for module, on_module in asked.items():
        place = catalogue.place_of(module)
        shelves.admitted[module] = fitting(shelves.package(module), on_module, place)
    if not asked:
        return {}
    roots = list(_roots(asked, shelves))
    origins = OriginPackage(
        [(shelves.package(m), shelves.admitted[m]) for m in asked] if same_origin else []
    )
    if not origins.everything.is_empty:
        roots.append(RootRequirement(ORIGIN, origins.everything, "one origin is asked for"))
    provider = Provider(shelves, asked, origins, limit_seconds)
    # What ends a search that goes on is the time.
    resolver = Resolver(provider, max_iterations=sys.maxsize, range_type=VersionSet)
    try:
        pins = resolver.resolve(roots)
    except ResolutionError as failure:
        proof = failure.incompatibility
        if proof is None or isinstance(failure, ResolutionTerminatedError):
            raise  # a fault of the solver, and nothing that a user could mend
        raise Explanation(proof, provider).error() from None
    chosen = {
        ModuleName(*name.split("/")): position for name, position in pins.items() if name != ORIGIN
    }
    return {m: shelves.package(m).releases[position] for m, position in sorted(chosen.items())}


def _asked(demands: Sequence[Demand], shelves: Shelves) -> dict[ModuleName, list[Demand]]:
    """Return what is asked of each module, by name, a namespace as each module in it."""
    of_modules: dict[ModuleName, dict[Demand, None]] = {}
    for demand in sorted(demands, key=lambda d: (str(d.requirement), d.asked_by)):
        for module in shelves.modules(demand.requirement):
            one = Demand(demand.requirement.of(module), demand.asked_by)
            of_modules.setdefault(module, {})[one] = None
    return {module: list(on_module) for module, on_module in sorted(of_modules.items())}


def _roots(
    asked: Mapping[ModuleName, Sequence[Demand]], shelves: Shelves
) -> Iterator[RootRequirement[str, int]]:
    """Give each demand by itself, so that a proof can name the one that is in the way."""
    for module, demands in asked.items():
        package = shelves.package(module)
        choice = package.plain | shelves.admitted[module]
        for demand in demands:
            accepted = package.accepted([demand.requirement])
            yield RootRequirement(str(module), accepted & choice, demand)
