"""The releases of all modules, and what each list of requirements comes to."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from modpm.core.errors import ModpmError
from modpm.core.formats.requirements import Requirement
from modpm.registry.resolver.packages import ModulePackage
from modpm.registry.resolver.refusals import nothing_fits

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from packaging.version import Version

    from modpm.core.formats.names import ModuleName
    from modpm.registry.index import Index
    from modpm.registry.resolver.version_sets import VersionSet

# A release that requires what is not there cannot be chosen. Any other error ends the resolution:
# that a server does not answer must not look like a reason for older releases.
_OBSTACLES = frozenset({"unknown-module", "unknown-namespace", "unknown-tag"})


class Catalogue(Protocol):
    """What can be chosen from."""

    def modules(self, namespace: str) -> Sequence[ModuleName]:
        """Return the modules of a namespace.

        Raises:
            ModpmError: `unknown-namespace`, if there are none.
        """

    def index(self, module: ModuleName) -> Index:
        """Return what is listed for a module.

        Raises:
            ModpmError: `unknown-module`.
        """

    def place_of(self, module: ModuleName) -> str:
        """Return which registry lists it, for errors."""


@dataclass(frozen=True)
class Wants:
    """What a list of requirements comes to.

    Attributes:
        needs: The versions that fit, of each module; of no use if there is a refusal.
        refusal: Why nothing fits.
        refused: The requirements that nothing fits.
        modules: The modules that they are on.
    """

    needs: Mapping[str, VersionSet]
    refusal: ModpmError | None = None
    refused: tuple[str, ...] = ()
    modules: tuple[ModuleName, ...] = ()


class Shelves:
    """All modules; the index of one is read when it is first needed.

    Args:
        catalogue: Where the indexes are.
        locked: Versions to keep.
        until: Other releases published after this are as if absent.

    Attributes:
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
        self._packages: dict[ModuleName, ModulePackage] = {}
        self._fitting: dict[tuple[ModuleName, tuple[str, ...]], VersionSet] = {}
        self._wants: dict[tuple[str, ...], Wants] = {}
        self._requirements: dict[str, Requirement] = {}

    def package(self, module: ModuleName) -> ModulePackage:
        """Return the releases of a module.

        Raises:
            ModpmError: `unknown-module`.
        """
        known = self._packages.get(module)
        if known is None:
            with self._reading():
                index = self._catalogue.index(module)
            known = ModulePackage(self, index, self._locked.get(module), self._until)
            self._packages[module] = known
        return known

    def place_of(self, module: ModuleName) -> str:
        """Return which registry lists a module."""
        return self._catalogue.place_of(module)

    def is_locked(self, module: ModuleName) -> bool:
        """Say whether there is a version of a module to keep."""
        return module in self._locked

    def requirement(self, text: str) -> Requirement:
        """Return what a release requires."""
        if text not in self._requirements:
            self._requirements[text] = Requirement.parse(text, where="an index")
        return self._requirements[text]

    def modules(self, requirement: Requirement) -> Sequence[ModuleName]:
        """Return the modules that a requirement is on, sorted.

        Those of a namespace that had no release yet are left out, unless that leaves none.

        Raises:
            ModpmError: `unknown-namespace`.
        """
        if requirement.module is not None:
            return [requirement.module]
        with self._reading():
            names = sorted(self._catalogue.modules(requirement.namespace))
        if self._until is None:
            return names
        return [name for name in names if self.package(name).releases] or names

    def fitting(self, module: ModuleName, texts: tuple[str, ...]) -> VersionSet:
        """Return the releases of a module that fit what one release requires of it.

        Raises:
            ModpmError: `unknown-module` or `unknown-tag`.
        """
        known = self._fitting.get((module, texts))
        if known is None:
            requirements = [self.requirement(text) for text in texts]
            known = self.package(module).fitting(requirements, self.admitted.get(module))
            self._fitting[module, texts] = known
        return known

    def wants(self, texts: tuple[str, ...]) -> Wants:
        """Return what a list of requirements comes to."""
        if texts not in self._wants:
            self._wants[texts] = self._find(texts)
        return self._wants[texts]

    @contextmanager
    def _reading(self) -> Iterator[None]:
        start = time.monotonic()
        try:
            yield
        finally:
            self.reading_seconds += time.monotonic() - start

    def _find(self, texts: tuple[str, ...]) -> Wants:
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
            return Wants({}, error, about)
        return Wants(needs)

    def _nothing_fits(self, module: ModuleName, texts: tuple[str, ...]) -> Wants:
        requirements = [self.requirement(text) for text in texts]
        error = nothing_fits(self.package(module), requirements, self.place_of(module))
        return Wants({}, error, texts, (module,))
