"""The releases of all modules, as the solver sees them, and what each requires of the others."""

from __future__ import annotations

import time
from contextlib import contextmanager
from functools import cache, partial
from typing import TYPE_CHECKING, NamedTuple, Protocol

from modpm.core.errors import ModpmError
from modpm.core.formats.names import ModuleName
from modpm.core.formats.release_files import VARIANTS, variant_name
from modpm.core.formats.requirements import Requirement
from modpm.registry.resolver.candidates import Candidates, grouped
from modpm.registry.resolver.refusals import named, nothing_fits, plural, ruled_out
from modpm.registry.resolver.version_sets import VersionSet

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from packaging.version import Version

    from modpm.registry.index import Index

_MAX_TEXTS = 2

# A release that requires what is not there cannot be chosen. Any other error ends the resolution:
# that a server does not answer must not look like a reason for older releases.
_OBSTACLES = frozenset({"unknown-module", "unknown-namespace", "unknown-tag"})


class Catalogue(Protocol):
    """What can be chosen from."""

    def modules(self, namespace: str) -> Sequence[ModuleName]:
        """Return the modules of a namespace, or raise `unknown-namespace`."""

    def index(self, module: ModuleName) -> Index:
        """Return what is listed for a module, or raise `unknown-module`."""

    def place_of(self, module: ModuleName) -> str:
        """Return which registry lists it, for errors."""


class Obstacle(NamedTuple):
    """Why some versions cannot be chosen at all.

    Attributes:
        text: The reason, as part of a sentence.
        error: The same as an error, for when it is all that there is to say.
        modules: The modules whose releases were looked at.
    """

    versions: VersionSet
    text: str
    error: ModpmError
    modules: tuple[ModuleName, ...] = ()


def without_variants(names: Sequence[ModuleName]) -> list[ModuleName]:
    """Return names without those of variants of others of them (W-20)."""
    variants = {variant_name(str(name), kind) for name in names for kind in VARIANTS}
    return [name for name in names if str(name) not in variants]


class Wants(NamedTuple):
    """What a list of requirements comes to.

    Attributes:
        needs: The versions that fit, of each module; of no use if there is a refusal.
        refused: The requirements that nothing fits.
        reason: The refusal in words, with what would fit if it were not yanked, or was final.
        modules: The modules that they are on.
    """

    needs: Mapping[str, VersionSet]
    refusal: ModpmError | None = None
    refused: tuple[str, ...] = ()
    reason: str = ""
    modules: tuple[ModuleName, ...] = ()


class Shelves:
    """All modules; the index of one is read when it is first needed.

    Attributes:
        package: Gives the releases of a module; raises what the catalogue does.
        requirement: Gives what a release requires, of its text.
        fitting: Gives the releases of a module that fit what one release requires of it; raises
            `unknown-module` or `unknown-tag`.
        wants: Gives what a list of requirements comes to.
        reading_seconds: How long registries have been waited for.
        admitted: What was asked for already, which releases may require too, yanked or not.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        locked: Mapping[ModuleName, Version],
        until: str | None = None,
    ) -> None:
        self._catalogue = catalogue
        self._until = until
        self.reading_seconds = 0.0
        self._locked = locked
        self.admitted: dict[ModuleName, VersionSet] = {}
        self.package = cache(self._read)
        self.place_of = catalogue.place_of
        self.requirement = cache(partial(Requirement.parse, where="an index"))
        self.fitting = cache(self._find_fitting)
        self.wants = cache(self._find_wants)

    def is_locked(self, module: ModuleName) -> bool:
        """Say whether there is a version of a module to keep."""
        return module in self._locked

    def modules(self, requirement: Requirement) -> Sequence[ModuleName]:
        """Return the modules that a requirement is on, sorted.

        Of a namespace, variants are left out, and those that had no release yet, unless that
        leaves none.

        Raises:
            ModpmError: `unknown-namespace`.
        """
        if requirement.module is not None:
            return [requirement.module]
        with self._reading():
            names = sorted(self._catalogue.modules(requirement.namespace))
        names = without_variants(names)
        if self._until is None:
            return names
        return [name for name in names if self.package(name).releases] or names

    @contextmanager
    def _reading(self) -> Iterator[None]:
        start = time.monotonic()
        try:
            yield
        finally:
            self.reading_seconds += time.monotonic() - start

    def _read(self, module: ModuleName) -> ModulePackage:
        with self._reading():
            index = self._catalogue.index(module)
        return ModulePackage(self, index, self._locked.get(module), self._until)

    def _find_fitting(self, module: ModuleName, texts: tuple[str, ...]) -> VersionSet:
        requirements = [self.requirement(text) for text in texts]
        return self.package(module).fitting(requirements, self.admitted.get(module))

    def _find_wants(self, texts: tuple[str, ...]) -> Wants:
        asked: dict[ModuleName, list[str]] = {}
        needs: dict[str, VersionSet] = {}
        about = texts
        try:
            for text in texts:
                about = (text,)
                for module in self.modules(self.requirement(text)):
                    asked.setdefault(module, []).append(text)
            for module, on_module in sorted(asked.items()):
                about = tuple(on_module)
                needs[str(module)] = fitting = self.fitting(module, about)
                if fitting.is_empty:
                    return self._nothing_fits(module, about)
        except ModpmError as error:
            if error.code not in _OBSTACLES:
                raise
            return Wants({}, error, about, error.what)
        return Wants(needs)

    def _nothing_fits(self, module: ModuleName, texts: tuple[str, ...]) -> Wants:
        package = self.package(module)
        requirements = [self.requirement(text) for text in texts]
        error = nothing_fits(package, requirements, self.place_of(module))
        aside = ruled_out(package, requirements)
        reason = f"{error.what} ({aside})" if aside else error.what
        return Wants({}, error, texts, reason, (module,))


class ModulePackage(Candidates):
    """The releases of a module, with what each requires."""

    def __init__(
        self, shelves: Shelves, index: Index, locked: Version | None, until: str | None
    ) -> None:
        super().__init__(index, locked, until)
        self._shelves = shelves
        self._requiring = cache(self._find_requiring)

    def obstacle(self, version: int) -> Obstacle | None:
        """Return which of its requirements a release can never have."""
        wants = self._shelves.wants(self._requires(version))
        if wants.refusal is None:
            return None
        versions = self.requiring(wants.refused)
        asked = " and ".join(f"`{text}`" for text in wants.refused)
        verb = "require" if plural(self.words(versions)) else "requires"
        text = f"{self.words(versions)} {verb} {asked}, and {wants.reason}"
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

    def _find_requiring(self, module: ModuleName) -> Mapping[tuple[str, ...], VersionSet]:
        """Return what releases require of a module, to the releases that require it."""
        texts = (tuple(self._on(module, release.requires)) for release in self.releases)
        return grouped((i, group) for i, group in enumerate(texts) if group)

    def _on(self, module: ModuleName, texts: Iterable[str]) -> Iterator[str]:
        return (text for text in texts if self._shelves.requirement(text).is_on(module))
