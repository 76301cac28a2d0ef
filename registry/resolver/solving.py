"""The solver, which is PubGrub's, and what it asks: in which order, and what each choice needs."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from nab_resolver.errors import ResolutionError, ResolutionTerminatedError
from nab_resolver.resolver import BaseProvider, Resolver
from nab_resolver.types import (
    Incompatibility,
    IncompatibilityCause,
    RangeProtocol,
    RootRequirement,
    Term,
)

from modpm.core.errors import ModpmError
from modpm.core.formats.names import ModuleName
from modpm.core.system.waiting import PATIENCE_SECONDS, say_waiting
from modpm.registry.resolver.explanation import Explanation
from modpm.registry.resolver.origins import ORIGIN, OriginPackage
from modpm.registry.resolver.version_sets import VersionSet, version_set

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from modpm.registry.resolver.resolution import Roots
    from modpm.registry.resolver.shelves import ModulePackage, Shelves

Clause = Incompatibility[str, int]
Range = RangeProtocol[int]

_MAX_WORST = 3


def solve(
    shelves: Shelves, roots: Roots, *, same_origin: bool, limit_seconds: float
) -> dict[ModuleName, int]:
    """Return the position of the release of each module that is needed."""
    requirements = [
        RootRequirement(str(module), allowed, demand)
        for module, demands in roots.items()
        for demand, allowed in demands.items()
    ]
    origins = OriginPackage(
        [(shelves.package(m), shelves.admitted[m]) for m in roots] if same_origin else []
    )
    if not origins.everything.is_empty:
        requirements.append(RootRequirement(ORIGIN, origins.everything, "one origin is asked for"))
    provider = Provider(shelves, roots, origins, limit_seconds)
    # What ends a search that goes on is the time.
    resolver = Resolver(provider, max_iterations=sys.maxsize, range_type=VersionSet)
    try:
        pins = resolver.resolve(requirements)
    except ResolutionError as failure:
        proof = failure.incompatibility
        if proof is None or isinstance(failure, ResolutionTerminatedError):
            raise  # a fault of the solver, and nothing that a user could mend
        raise Explanation(proof, provider).error() from None
    return {_module(name): position for name, position in pins.items() if name != ORIGIN}


class Provider(BaseProvider[str, int]):
    """Modules by name, versions by position, and clauses for what can never be chosen.

    The order of choices makes the result one that can be told: the origin first, then the modules
    that are asked for, the locked ones and then the others by name; each takes the first version
    it prefers for which there is any result. Modules that others require come last, those first
    that were in the way most often.
    """

    def __init__(
        self,
        shelves: Shelves,
        asked: Iterable[ModuleName],
        origins: OriginPackage,
        limit_seconds: float,
    ) -> None:
        self.shelves = shelves
        self._limit_seconds, self._silent_seconds = limit_seconds, PATIENCE_SECONDS
        self._start = time.monotonic() - shelves.reading_seconds
        self._n_looked_at = 0
        self._first = {
            str(module): (1 if shelves.is_locked(module) else 2, 0, str(module)) for module in asked
        } | {ORIGIN: (0, 0, "")}
        self._packages: dict[str, ModulePackage | OriginPackage] = {ORIGIN: origins}
        self._clauses: list[Clause] = []
        self._left: Mapping[str, Range] = {}
        self._conflicts: Mapping[str, int] = {}
        self._told: set[str] = set()

    def package(self, name: str) -> ModulePackage | OriginPackage:
        """Return what has that name; the index of a module is read when it is first asked for."""
        known = self._packages.get(name)
        if known is None:
            known = self._packages[name] = self.shelves.package(_module(name))
        return known

    def receive_partial_solution_hint(
        self,
        positive_ranges: Mapping[str, Range],
        decisions: Mapping[str, int],  # noqa: ARG002 -- the solver's
    ) -> None:
        """Take note of what is left of each package before a version is chosen.

        Raises:
            ModpmError: `resolving-takes-too-long`.
        """
        spent_seconds = time.monotonic() - self._start - self.shelves.reading_seconds
        if spent_seconds > self._limit_seconds:
            raise self._too_long()
        if spent_seconds > self._silent_seconds:
            self._silent_seconds *= 2
            say_waiting(f"releases that go together: {self._n_looked_at:,} versions looked at")
        self._left = positive_ranges

    def choose_version(self, package: str, version_range: Range) -> int | None:
        """Return the preferred version against which nothing is known.

        Versions that need what is ruled out already are passed over, and the solver is told why.
        If it found that out by itself, it would undo all choices since the one in the way.
        """
        left = version_set(version_range)
        while (version := self.package(package).preferred(left)) is not None:
            self._n_looked_at += 1
            hindrance = self._obstacle(package, version) or self._contradiction(package, version)
            if hindrance is None:
                self._tell_all_needs(package, version)
                return version
            self._clauses.append(hindrance)
            left = left - version_set(hindrance.terms[0].constraint)
        return None

    def has_satisfying_version(self, package: str, version_range: Range) -> bool:
        """Say whether a version could be chosen."""
        return self.choose_version(package, version_range) is not None

    def get_dependencies(self, package: str, version: int) -> Mapping[str, VersionSet]:
        """Return what a version needs."""
        return self.package(package).needs(version)

    def widen_decision(self, package: str, version: int) -> VersionSet:
        """Return all versions that need the same, so that one clause stands for all."""
        return self.package(package).alike(version)

    def prioritize(
        self,
        package: str,
        version_range: Range,  # noqa: ARG002 -- the solver's
        conflict_counts: Mapping[str, int],
        culprit_counts: Mapping[str, int] | None = None,  # noqa: ARG002 -- the solver's
    ) -> tuple[int, int, str]:
        """Return the place of a package in the order of choices."""
        self._conflicts = conflict_counts
        first = self._first.get(package)
        if first is not None:
            return first
        is_free = not self.shelves.is_locked(_module(package))
        return 3 + is_free, -conflict_counts.get(package, 0), package

    def consume_pending_clauses(self) -> list[Clause]:
        """Return the obstacles that were met since the last call."""
        clauses, self._clauses = self._clauses, []
        return clauses

    def _too_long(self) -> ModpmError:
        modules = [name for name in self._conflicts if name in self._packages and name != ORIGIN]
        worst = sorted(modules, key=lambda name: (-self._conflicts[name], name))[:_MAX_WORST]
        in_the_way = "; most in the way were " + ", ".join(f"`{name}`" for name in worst)
        return ModpmError(
            "resolving takes too long",
            code="resolving-takes-too-long",
            why=f"after {self._limit_seconds:g} s and {self._n_looked_at:,} versions there is "
            f" neither a result nor a proof that there is none{in_the_way if worst else ''}",
            hint="ask for exact versions of some modules (`==1.0.0`), or give it more time by "
            "`--resolve-timeout SECONDS`",
        )

    def _obstacle(self, package: str, version: int) -> Clause | None:
        obstacle = self.package(package).obstacle(version)
        if obstacle is None:
            return None
        term: Term[str, int] = Term(package, obstacle.versions, positive=True)
        return Incompatibility([term], IncompatibilityCause.NO_VERSIONS, origin=obstacle)

    def _contradiction(self, package: str, version: int) -> Clause | None:
        """Return a need of a version that is ruled out by what was chosen before."""
        of = self.package(package)
        for name, needed in of.needs(version).items():
            left = self._left.get(name)
            if left is not None and name != package and left.is_disjoint(needed):
                if self._conflicts.get(package, 0):
                    return _need(package, name, of.needing(name, version_set(left)))
                return _need(package, name, (of.alike(version), needed))
        return None

    def _tell_all_needs(self, package: str, version: int) -> None:
        """Tell the solver what all versions of a package need that is in the way again and again.

        What it learns from a need of one version it would have to learn anew from the next.
        """
        if self._conflicts.get(package, 0) and package not in self._told:
            self._told.add(package)
            of = self.package(package)
            others = (name for name in of.needs(version) if name != package)
            nothing = VersionSet.empty()
            self._clauses += [_need(package, name, of.needing(name, nothing)) for name in others]


def _need(package: str, name: str, versions_and_needed: tuple[VersionSet, VersionSet]) -> Clause:
    versions, needed = versions_and_needed
    terms: list[Term[str, int]] = [
        Term(package, versions, positive=True),
        Term(name, needed, positive=False),
    ]
    return Incompatibility(terms, IncompatibilityCause.DEPENDENCY)


def _module(name: str) -> ModuleName:
    return ModuleName(*name.split("/"))
