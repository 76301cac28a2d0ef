"""Resolution: one release for each module that is asked for, or why there is none.

The solver is PubGrub's. The result depends on what is asked and listed, and not on any order.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from modpm.core.errors import ModpmError
from modpm.registry.resolver.candidates import Candidates
from modpm.registry.resolver.refusals import Demand, refused
from modpm.registry.resolver.shelves import Shelves

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from packaging.version import Version

    from modpm.core.formats.names import ModuleName
    from modpm.core.formats.requirements import Requirement
    from modpm.registry.index import Index, Release
    from modpm.registry.resolver.shelves import Catalogue
    from modpm.registry.resolver.version_sets import VersionSet


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
    # The solver is not imported by who only lists, or installs what is locked.
    from modpm.registry.resolver.search import search  # noqa: PLC0415 -- nab_resolver is slow to start

    shelves = Shelves(catalogue, locked or {}, until)
    asked = _asked(demands, shelves)
    fitting = {
        module: _fitting(shelves.package(module), on_module, shelves.place_of(module))
        for module, on_module in asked.items()
    }
    shelves.admitted.update(fitting)
    if not asked:
        return {}
    return search(asked, shelves, same_origin=same_origin, limit_seconds=limit_seconds)


def newest_fitting(index: Index, requirements: Sequence[Requirement], place: str) -> Release:
    """Return the release of one module that `resolve` would prefer, whatever it requires itself.

    Args:
        index: What is listed.
        requirements: Everything that is asked of the module.
        place: The registry, for errors.

    Raises:
        ModpmError: `unknown-tag`.
        ResolutionError: `no-version-fits` or `conflict`.
    """
    candidates = Candidates(index)
    demands = [Demand(requirement, "you") for requirement in requirements]
    return candidates.releases[_fitting(candidates, demands, place).last]


def _asked(demands: Sequence[Demand], shelves: Shelves) -> dict[ModuleName, list[Demand]]:
    """Return what is asked of each module, by name, a namespace as each module in it."""
    of_modules: dict[ModuleName, dict[Demand, None]] = {}
    for demand in sorted(demands, key=lambda d: (str(d.requirement), d.asked_by)):
        for module in shelves.modules(demand.requirement):
            one = Demand(demand.requirement.of(module), demand.asked_by)
            of_modules.setdefault(module, {})[one] = None
    return {module: list(on_module) for module, on_module in sorted(of_modules.items())}


def _fitting(candidates: Candidates, demands: Sequence[Demand], place: str) -> VersionSet:
    """Return the releases of one module that may be chosen for all demands on it together."""
    try:
        fitting = candidates.fitting([demand.requirement for demand in demands])
    except ModpmError as error:
        error.where = error.where or demands[0].asked_by
        raise
    if fitting.is_empty:
        raise refused(candidates, demands, place)
    return fitting
