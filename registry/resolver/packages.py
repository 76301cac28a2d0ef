"""What the solver chooses versions of, as it sees it: positions, and what each needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from modpm.core.formats.names import ModuleName
from modpm.registry.resolver.candidates import Candidates, grouped
from modpm.registry.resolver.refusals import named, plural, ruled_out
from modpm.registry.resolver.version_sets import VersionSet

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from packaging.version import Version

    from modpm.core.errors import ModpmError
    from modpm.registry.index import Index
    from modpm.registry.resolver.shelves import Shelves, Wants

_MAX_TEXTS = 2


@dataclass(frozen=True)
class Obstacle:
    """Why some versions cannot be chosen at all.

    Attributes:
        versions: The versions.
        text: The reason, as part of a sentence.
        error: The same as an error, for when it is all that there is to say.
        modules: The modules whose releases were looked at.
    """

    versions: VersionSet
    text: str
    error: ModpmError
    modules: tuple[ModuleName, ...] = ()


class ModulePackage(Candidates):
    """The releases of a module, with what each requires.

    Args:
        shelves: The releases of all others.
        index: What is listed.
        locked: The version to keep.
        until: Other releases published after this are as if absent.
    """

    def __init__(
        self, shelves: Shelves, index: Index, locked: Version | None, until: str | None
    ) -> None:
        super().__init__(index, locked, until)
        self._shelves = shelves
        self._requiring_of: dict[ModuleName, Mapping[tuple[str, ...], VersionSet]] = {}

    def obstacle(self, version: int) -> Obstacle | None:
        """Return which of its requirements a release can never have."""
        wants = self._shelves.wants(self._requires(version))
        if wants.refusal is None:
            return None
        versions = self.requiring(wants.refused)
        asked = " and ".join(f"`{text}`" for text in wants.refused)
        verb = "require" if plural(self.words(versions)) else "requires"
        text = f"{self.words(versions)} {verb} {asked}, and {self._reason(wants)}"
        return Obstacle(versions, text, wants.refusal, wants.modules)

    def needs(self, version: int) -> Mapping[str, VersionSet]:
        """Return the releases that fit what a release requires."""
        return self._shelves.wants(self._requires(version)).needs

    def needing(self, other: str, none_of: VersionSet) -> tuple[VersionSet, VersionSet]:
        """Return all releases that require others of a module than these, and what they require.

        Only requirements on this module are looked at, so that no other index is read.
        """
        module = ModuleName(*other.split("/"))
        versions, needed = VersionSet.empty(), VersionSet.empty()
        for texts, requiring in self._requiring(module).items():
            fitting = self._shelves.fitting(module, texts)
            if fitting.is_disjoint(none_of):
                versions, needed = versions | requiring, needed | fitting
        return versions, needed

    def words(self, versions: VersionSet) -> str:
        """Name releases."""
        return named(self, versions)

    def words_of_need(self, versions: VersionSet, other: str, needed: VersionSet) -> str:
        """Say what releases require of a module, in the words of their manifests."""
        verb = "require" if plural(self.words(versions)) else "requires"
        texts = self.requirements_on(versions, other)
        if len(texts) <= _MAX_TEXTS:
            stated = " or ".join(f"`{text}`" for text in texts)
        else:
            candidates = self._shelves.package(ModuleName(*other.split("/")))
            stated = named(candidates, needed)
        return f"{self.words(versions)} {verb} {stated}"

    def requirements_on(self, versions: VersionSet, other: str) -> list[str]:
        """Return what releases require of a module, each text once."""
        module = ModuleName(*other.split("/"))
        releases = [self.releases[v] for v in versions & self.everything]
        texts = dict.fromkeys(text for release in releases for text in release.requires)
        return list(self._on(module, texts))

    def listed(self, versions: VersionSet) -> list[str]:
        """Return the versions of releases."""
        inside = versions & self.everything
        return [self.releases[version].version for version in inside]

    def _requires(self, version: int) -> tuple[str, ...]:
        return tuple(self.releases[version].requires)

    def _requiring(self, module: ModuleName) -> Mapping[tuple[str, ...], VersionSet]:
        """Return what releases require of a module, to the releases that require it."""
        if module not in self._requiring_of:
            texts = (tuple(self._on(module, r.requires)) for r in self.releases)
            groups = grouped((i, group) for i, group in enumerate(texts) if group)
            self._requiring_of[module] = groups
        return self._requiring_of[module]

    def _on(self, module: ModuleName, texts: Iterable[str]) -> Iterator[str]:
        return (text for text in texts if self._shelves.requirement(text).is_on(module))

    def _reason(self, wants: Wants) -> str:
        assert wants.refusal is not None
        requirements = [self._shelves.requirement(text) for text in wants.refused]
        aside = [ruled_out(self._shelves.package(m), requirements) for m in wants.modules]
        return " ".join([wants.refusal.what, *(f"({words})" for words in aside if words)])
