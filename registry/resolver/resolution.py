"""Resolution: one release for each module that is asked for, or why there is none.

The result depends on what is asked and listed, and not on any order.
"""

from __future__ import annotations

import math
from functools import reduce
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING

from modpm.core.formats.names import ModuleName
from modpm.registry.resolver.refusals import Demand, fitting
from modpm.registry.resolver.shelves import Shelves
from modpm.registry.resolver.version_sets import VersionSet

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from packaging.version import Version

    from modpm.registry.index import Release
    from modpm.registry.resolver.shelves import Catalogue

    Roots = Mapping[ModuleName, Mapping[Demand, VersionSet]]


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
    roots = {module: _allowed(shelves, module, asked[module]) for module in asked}
    chosen = None if same_origin else first_choices(shelves, roots)
    if chosen is None:
        from modpm.registry.resolver.solving import solve  # noqa: PLC0415 -- slow to import

        chosen = solve(shelves, roots, same_origin=same_origin, limit_seconds=limit_seconds)
    return {m: shelves.package(m).releases[position] for m, position in sorted(chosen.items())}


def first_choices(shelves: Shelves, roots: Roots) -> dict[ModuleName, int] | None:
    """Return what the solver chooses where each module can have the first version it prefers.

    It chooses in the same order from the same versions; the first obstacle or conflict is left to
    the solver.
    """
    left = {module: reduce(VersionSet.__and__, sets.values()) for module, sets in roots.items()}
    chosen: dict[ModuleName, int] = {}

    def place(module: ModuleName) -> tuple[bool, bool, str, ModuleName]:
        return module not in roots, not shelves.is_locked(module), str(module), module

    waiting = [place(module) for module in left]
    heapify(waiting)
    while waiting:
        *_, module = heappop(waiting)
        package = shelves.package(module)
        version = package.preferred(left[module])
        if version is None or package.obstacle(version) is not None:
            return None
        chosen[module] = version
        for name, needed in package.needs(version).items():
            other = ModuleName(*name.split("/"))
            if other not in left:
                heappush(waiting, place(other))
            left[other] = left.get(other, needed) & needed
            if left[other].is_empty or chosen.get(other, left[other].last) not in left[other]:
                return None
    return chosen


def _asked(demands: Sequence[Demand], shelves: Shelves) -> dict[ModuleName, list[Demand]]:
    """Return what is asked of each module, by name, a namespace as each module in it."""
    of_modules: dict[ModuleName, dict[Demand, None]] = {}
    for demand in sorted(demands, key=lambda d: (str(d.requirement), d.asked_by)):
        for module in shelves.modules(demand.requirement):
            one = Demand(demand.requirement.of(module), demand.asked_by)
            of_modules.setdefault(module, {})[one] = None
    return {module: list(on_module) for module, on_module in sorted(of_modules.items())}


def _allowed(
    shelves: Shelves, module: ModuleName, demands: Sequence[Demand]
) -> dict[Demand, VersionSet]:
    """Return what each demand allows by itself, so that a proof can name the one in the way."""
    package = shelves.package(module)
    choice = package.plain | shelves.admitted[module]
    return {demand: package.accepted([demand.requirement]) & choice for demand in demands}
