"""One origin for all modules that are asked for: origins as the versions of one more package."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modpm.core.errors import ModpmError
from modpm.core.formats.names import ModuleName
from modpm.registry.resolver.refusals import listed, named
from modpm.registry.resolver.shelves import Obstacle
from modpm.registry.resolver.version_sets import VersionSet

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from modpm.registry.resolver.candidates import Candidates

ORIGIN = "origin"  # no module has a name without `/`
_SHOWN_DIGITS = 12
_MAX_SHOWN = 3


class OriginPackage:
    """The origins of the modules that are asked for, of those of their releases that fit.

    An origin needs, of each of these modules, a release that was cut from it. The last version is
    the origin to prefer: the one that keeps most locked releases, then the one whose newest
    releases are the least behind, counting the newer releases of each module that fit.
    """

    def __init__(self, asked: Sequence[tuple[Candidates, VersionSet]]) -> None:
        self._releases = {
            candidates.module: {
                origin: found
                for origin, of in candidates.of_origin.items()
                if not (found := of & fitting).is_empty
            }
            for candidates, fitting in asked
        }
        self._releases = {module: found for module, found in self._releases.items() if found}
        self._asked = [(c, fitting) for c, fitting in asked if c.module in self._releases]
        origins = {origin for releases in self._releases.values() for origin in releases}
        self._origins = sorted(sorted(origins), key=self._merit)
        self.everything = VersionSet.first(len(self._origins))
        self._obstacles = self._find_obstacles()

    def preferred(self, allowed: VersionSet) -> int | None:
        """Return the best origin that is left."""
        possible = allowed & self.everything
        return None if possible.is_empty else possible.last

    def obstacle(self, version: int) -> Obstacle | None:
        """Return which module has no release of an origin."""
        return next((o for o in self._obstacles if version in o.versions), None)

    def needs(self, version: int) -> Mapping[str, VersionSet]:
        """Return the releases of an origin."""
        origin = self._origins[version]
        return {str(module): found[origin] for module, found in self._releases.items()}

    def alike(self, version: int) -> VersionSet:
        """Return the origin alone."""
        return VersionSet.singleton(version)

    def needing(self, other: str, none_of: VersionSet) -> tuple[VersionSet, VersionSet]:
        """Return all origins that have others of a module than these releases, and which."""
        versions, needed = VersionSet.empty(), VersionSet.empty()
        for place, origin in enumerate(self._origins):
            found = self._releases[ModuleName(*other.split("/"))].get(origin, VersionSet.empty())
            if found.is_disjoint(none_of):
                versions, needed = versions | VersionSet.singleton(place), needed | found
        return versions, needed

    def words(self, versions: VersionSet) -> str:
        """Name origins by the first digits of their digests."""
        names = [_short(origin) for origin in self.listed(versions)]
        if len(names) == 1:
            return f"the origin {names[0]}"
        return f"the origins {listed(names)}"

    def words_of_need(self, versions: VersionSet, other: str, needed: VersionSet) -> str:
        """Say which releases of a module are of an origin."""
        candidates = next(c for c, _ in self._asked if str(c.module) == other)
        verb = "is" if len(needed & candidates.everything) == 1 else "are"
        return f"of {other}, only {named(candidates, needed)} {verb} of {self.words(versions)}"

    def listed(self, versions: VersionSet) -> list[str]:
        """Return the digests of origins, the best last."""
        return [self._origins[version] for version in versions & self.everything]

    def _merit(self, origin: str) -> tuple[int, int]:
        n_kept = n_behind = 0
        for candidates, fitting in self._asked:
            found = self._releases[candidates.module].get(origin, VersionSet.empty())
            n_kept += not (found & candidates.locked).is_empty
            n_behind += len(fitting - VersionSet.first(found.last + 1))
        return n_kept, -n_behind

    def _find_obstacles(self) -> list[Obstacle]:
        """Say of each origin which module has no release of it, with as few modules as it takes."""
        lacking = {module: self._lacking(module) for module in self._releases}
        obstacles: list[Obstacle] = []
        told = VersionSet.empty()
        while not all((rest := lacks - told).is_empty for lacks in lacking.values()):
            module = max(sorted(lacking), key=lambda name: len(lacking[name] - told))
            rest = lacking[module] - told
            obstacles.append(self._obstacle(module, rest))
            told = told | rest
        return obstacles

    def _lacking(self, module: ModuleName) -> VersionSet:
        found = self._releases[module]
        return VersionSet.of(i for i, origin in enumerate(self._origins) if origin not in found)

    def _obstacle(self, module: ModuleName, versions: VersionSet) -> Obstacle:
        text = f"no release of {module} that fits is of {self._words_with_releases(versions)}"
        error = ModpmError(text, code="no-common-origin")
        return Obstacle(versions, text, error, (module,))

    def _words_with_releases(self, versions: VersionSet) -> str:
        """Name origins, the best of them with releases that are of each."""
        origins = self.listed(versions)[::-1]
        shown = [f"{_short(o)} ({self._some_release(o)})" for o in origins[:_MAX_SHOWN]]
        more = [f"{len(origins) - _MAX_SHOWN} others"] if len(origins) > _MAX_SHOWN else []
        return f"the origin{'s' if len(origins) > 1 else ''} {', '.join([*shown, *more])}"

    def _some_release(self, origin: str) -> str:
        candidates = next(c for c, _ in self._asked if origin in self._releases[c.module])
        newest = self._releases[candidates.module][origin].last
        return f"{candidates.module} {candidates.releases[newest].version}"


def _short(origin: str) -> str:
    return origin.removeprefix("sha256:")[:_SHOWN_DIGITS]
