"""The releases of one module, and which of them fit what is asked (clauses N-11 to N-14)."""

from __future__ import annotations

from functools import cache, cached_property, lru_cache, partial, reduce
from typing import TYPE_CHECKING, TypeVar

from packaging.version import Version

from modpm.core.errors import ModpmError
from modpm.core.formats.names import ModuleName
from modpm.registry.index import ModuleRelease
from modpm.registry.resolver.version_sets import VersionSet, satisfying

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence

    from packaging.specifiers import Specifier

    from modpm.core.formats.requirements import Requirement
    from modpm.registry.index import Index

K = TypeVar("K", bound="Hashable")

_EXACT = frozenset({"==", "==="})


_parsed = lru_cache(maxsize=65_536)(Version)
"""Many modules have the same versions."""


class Candidates:
    """The releases of one module, ascending, whatever the order they are listed in.

    Those published after `until` are as if absent, but for the one that is locked.

    Attributes:
        skipped: Why releases are left out that cannot be used; None if there are none.
        newer: The versions of the releases that are too new.
        everything: The positions of all releases; those of kinds of them are sets of these, too.
        plain: The positions of those that are neither yanked nor pre-releases.
    """

    def __init__(
        self, index: Index, locked: Version | None = None, until: str | None = None
    ) -> None:
        self.module = ModuleName.parse(index.name)
        self._tags = index.tags
        self.skipped = index.cannot_use(index.skipped) if index.skipped else None
        listed = index.until(until, besides=locked).releases
        self.until, self.newer = until, list[str]()
        if len(listed) < len(index.releases):
            known = {release.version for release in listed}
            self.newer = [r.version for r in index.releases if r.version not in known]
        self.releases = sorted(listed, key=lambda release: _parsed(release.version))
        self.versions = [_parsed(release.version) for release in self.releases]
        self.everything = VersionSet.first(len(self.releases))
        prereleases = (i for i, version in enumerate(self.versions) if version.is_prerelease)
        self.prereleases = VersionSet.of(prereleases)
        yanked = [i for i, release in enumerate(self.releases) if release.yanked is not None]
        self.yanked = VersionSet.of(yanked)
        self.plain = self.everything - self.prereleases - self.yanked
        self.locked = VersionSet.of(i for i, v in enumerate(self.versions) if v == locked)
        self._satisfying: Callable[[Specifier], VersionSet] = cache(
            partial(satisfying, versions=self.versions)
        )

    def accepted(self, requirements: Iterable[Requirement]) -> VersionSet:
        """Return what satisfies all requirements, yanked and pre-releases too.

        Raises:
            ModpmError: `unknown-tag`.
        """
        return reduce(VersionSet.__and__, map(self._accepted, requirements), self.everything)

    def fitting(
        self, requirements: Sequence[Requirement], admitted: VersionSet | None = None
    ) -> VersionSet:
        """Return what may be chosen for requirements that are made together.

        Yanked and pre-releases may be that are locked, or admitted since they were asked for.

        Raises:
            ModpmError: `unknown-tag`.
        """
        admitted = self.locked if admitted is None else self.locked | admitted
        unwanted = self.yanked - self._named_exactly(requirements) - admitted
        offered = self.accepted(requirements) - unwanted
        finals = offered - self.prereleases
        if finals.is_empty or any(_names_prereleases(r) for r in requirements):
            return offered
        return finals | (offered & admitted)

    def preferred(self, allowed: VersionSet) -> int | None:
        """Return the locked position if it is allowed, or else the newest that is."""
        kept = allowed & self.locked
        possible = allowed & self.everything if kept.is_empty else kept
        return None if possible.is_empty else possible.last

    @cached_property
    def of_origin(self) -> Mapping[str, VersionSet]:
        """Origins, to the releases of each; compositions have none (clause N-17)."""
        return grouped(
            (position, release.origin)
            for position, release in enumerate(self.releases)
            if isinstance(release, ModuleRelease)
        )

    def alike(self, position: int) -> VersionSet:
        """Return the releases that require the same as one."""
        requires = self.releases[position].requires
        return VersionSet.of(i for i, r in enumerate(self.releases) if r.requires == requires)

    def requiring(self, texts: Iterable[str]) -> VersionSet:
        """Return the releases that require all these."""
        wanted = set(texts)
        return VersionSet.of(i for i, r in enumerate(self.releases) if wanted.issubset(r.requires))

    def _accepted(self, requirement: Requirement) -> VersionSet:
        if requirement.tag is not None:
            version = self._tagged(requirement.tag)
            return VersionSet.of(i for i, r in enumerate(self.releases) if r.version == version)
        sets = map(self._satisfying, requirement.specifiers if requirement.versions else ())
        return reduce(VersionSet.__and__, sets, self.everything)

    def _tagged(self, tag: str) -> str:
        if tag in self._tags:
            return self._tags[tag]
        raise ModpmError(
            f"`{self.module}` has no tag `{tag}`",
            code="unknown-tag",
            why=f"its tags are: {', '.join(sorted(self._tags)) or 'none'}",
            hint=f"ask for versions instead, such as `{self.module}>=1.0`",
        )

    def _named_exactly(self, requirements: Iterable[Requirement]) -> VersionSet:
        asked = (s for r in requirements if r.versions for s in r.specifiers)
        exact = (s for s in asked if s.operator in _EXACT and not s.version.endswith(".*"))
        return reduce(VersionSet.__or__, map(self._satisfying, exact), VersionSet.empty())


def grouped(keys: Iterable[tuple[int, K]]) -> dict[K, VersionSet]:
    """Return the positions that have each key."""
    bits: dict[K, int] = {}
    for position, key in keys:
        bits[key] = bits.get(key, 0) | 1 << position
    return {key: VersionSet(group) for key, group in bits.items()}


def _names_prereleases(requirement: Requirement) -> bool:
    return requirement.tag is not None or bool(
        requirement.versions and requirement.specifiers.prereleases
    )
