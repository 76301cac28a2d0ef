"""Resolution: one release for each module that is asked for, or why there is none.

Newest first, with backtracking. Yanked releases and pre-releases as PEP 592 and PEP 440 say; a
release that is locked already is preferred. The result depends on what is asked and listed, and
not on any order.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from packaging.specifiers import SpecifierSet
from packaging.version import Version

from modpm.core.errors import ModpmError
from modpm.core.formats.names import ModuleName
from modpm.core.formats.requirements import Requirement

if TYPE_CHECKING:
    from modpm.registry.index import Index, Release

MAX_TRIED_RELEASES = 10_000


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
class Demand:
    """A requirement on one module, and who asks for it."""

    requirement: Requirement
    asked_by: str

    def __str__(self) -> str:
        return f"`{self.requirement}` (asked by {self.asked_by})"


Demands = Mapping[ModuleName, tuple[Demand, ...]]


def resolve(
    demands: Sequence[Demand],
    catalogue: Catalogue,
    locked: Mapping[ModuleName, Version] | None = None,
) -> dict[ModuleName, Release]:
    """Choose one release for every module that is asked for, directly or by a chosen release.

    Args:
        demands: What is asked for.
        catalogue: What can be chosen from.
        locked: Versions to keep where they still satisfy what is asked, yanked or not.

    Returns:
        Module to release, by name.

    Raises:
        ModpmError: `unknown-module`, `unknown-namespace`, `unknown-tag`, `no-version-fits`,
            `conflict`, or `resolution-too-hard`.
    """
    return _Search(catalogue, locked or {}).run(demands)


def newest(requirement: Requirement, catalogue: Catalogue) -> Release:
    """Return the release of one module that `resolve` would prefer, whatever it requires itself.

    Raises:
        ModpmError: `unknown-module`, `unknown-tag` or `no-version-fits`.
    """
    module = ModuleName(requirement.namespace, str(requirement.name))
    index, demand = catalogue.index(module), Demand(requirement, "you")
    found = candidates(index, [demand])
    if not found:
        raise _no_release(index, [demand], catalogue.place_of(module))
    return found[0]


@dataclass(frozen=True)
class _Choice:
    """A module, what is still to be tried for it, and what was asked when it came up."""

    module: ModuleName
    candidates: Iterator[Release]
    demands: Demands


class _Search:
    """A depth-first search through the releases of each module, in the order of names."""

    def __init__(self, catalogue: Catalogue, locked: Mapping[ModuleName, Version]) -> None:
        self._catalogue = catalogue
        self._locked = locked
        self._dead_end: ModpmError | None = None
        self._n_tried = 0
        # The same questions come up again and again as the search goes back and forth.
        self._known_candidates: dict[tuple[ModuleName, tuple[Demand, ...]], list[Release]] = {}
        self._known_asked: dict[tuple[ModuleName, str], list[Demand]] = {}

    def run(self, asked: Sequence[Demand]) -> dict[ModuleName, Release]:
        demands = self._add({}, asked)
        pins: dict[ModuleName, Release] = {}
        choices: list[_Choice] = []
        while (module := min(demands.keys() - pins.keys(), default=None)) is not None:
            choices.append(_Choice(module, iter(self._candidates_of(module, demands)), demands))
            demands = self._advance(choices, pins)
        return dict(sorted(pins.items()))

    def _advance(self, choices: list[_Choice], pins: dict[ModuleName, Release]) -> Demands:
        """Pin the next candidate that contradicts nothing, going back as far as it takes."""
        while choices:
            choice = choices[-1]
            pins.pop(choice.module, None)
            for release in choice.candidates:
                self._count()
                demands = self._demands_after(choice, release, pins)
                if demands is not None:
                    pins[choice.module] = release
                    return demands
            choices.pop()
        if self._dead_end is None:
            raise RuntimeError("a search without a dead end has a result")
        raise self._dead_end

    def _demands_after(
        self, choice: _Choice, release: Release, pins: Mapping[ModuleName, Release]
    ) -> Demands | None:
        """Return all demands once `release` is pinned; None if a pin would not satisfy them."""
        try:
            demands = self._add(choice.demands, self._asked_by(choice.module, release))
        except ModpmError as error:
            self._note(error)
            return None
        pinned = {**pins, choice.module: release}
        changed = (m for m in pinned if demands[m] != choice.demands.get(m))
        if all(pinned[m] in self._candidates_of(m, demands) for m in changed):
            return demands
        return None

    def _asked_by(self, module: ModuleName, release: Release) -> list[Demand]:
        key = (module, release.version)
        if key not in self._known_asked:
            by = f"{module} {release.version}"
            asked = [Demand(Requirement.parse(text, by), by) for text in release.requires]
            self._known_asked[key] = asked
        return self._known_asked[key]

    def _add(self, demands: Demands, asked: Sequence[Demand]) -> Demands:
        """Return the demands and those asked, a namespace as one demand on each module in it."""
        merged = dict(demands)
        for demand in asked:
            module = demand.requirement.module
            namespace = demand.requirement.namespace
            for name in [module] if module is not None else self._catalogue.modules(namespace):
                one = Demand(demand.requirement.of(name), demand.asked_by)
                merged[name] = tuple(dict.fromkeys([*merged.get(name, ()), one]))
        return merged

    def _candidates_of(self, module: ModuleName, demands: Demands) -> list[Release]:
        """Return the releases that satisfy all demands, the preferred first."""
        key = (module, demands[module])
        if key not in self._known_candidates:
            self._known_candidates[key] = self._find_candidates(module, demands)
        return self._known_candidates[key]

    def _find_candidates(self, module: ModuleName, demands: Demands) -> list[Release]:
        try:
            index = self._catalogue.index(module)
            found = candidates(index, demands[module], self._locked.get(module))
        except ModpmError as error:
            self._note(error)
            return []
        if not found:
            self._note(_no_release(index, demands[module], self._catalogue.place_of(module)))
        return found

    def _note(self, error: ModpmError) -> None:
        # The first dead end is the one in the way of the newest releases: it explains most.
        self._dead_end = self._dead_end or error

    def _count(self) -> None:
        self._n_tried += 1
        if self._n_tried > MAX_TRIED_RELEASES:
            raise ModpmError(
                "the requirements are too entangled to resolve",
                code="resolution-too-hard",
                why=f"{MAX_TRIED_RELEASES} releases were tried; the first thing in the way was: "
                f"{self._dead_end.what if self._dead_end else 'nothing'}",
                hint="ask for exact versions of some modules (`==1.0.0`)",
            )


def candidates(
    index: Index, demands: Sequence[Demand], locked: Version | None = None
) -> list[Release]:
    """Return the releases of one module that satisfy all demands.

    The locked one comes first, then the newest. Yanked releases are left out unless locked, or
    asked for by `==` (PEP 592); pre-releases unless a specifier names one or nothing else fits
    (PEP 440).

    Raises:
        ModpmError: `unknown-tag`.
    """
    specifiers = SpecifierSet()
    for demand in demands:
        specifiers &= demand.requirement.specifiers
    tagged = {_tagged_version(index, demand) for demand in demands if demand.requirement.tag}
    offered = {
        Version(release.version): release
        for release in index.releases
        if release.yanked is None or _is_exact(specifiers, Version(release.version))
    }
    fitting = [v for v in specifiers.filter(offered) if tagged <= {v}]
    if tagged and not fitting:  # a tag may name a pre-release
        fitting = [v for v in offered if tagged == {v} and specifiers.contains(v, prereleases=True)]
    chosen = [offered[version] for version in sorted(fitting, reverse=True)]
    kept = index.find(locked) if locked is not None else None
    if kept is None or not _satisfies(Version(kept.version), specifiers, tagged):
        return chosen
    return [kept, *(release for release in chosen if release != kept)]


def _satisfies(version: Version, specifiers: SpecifierSet, tagged: set[Version]) -> bool:
    return specifiers.contains(version, prereleases=True) and tagged <= {version}


def _tagged_version(index: Index, demand: Demand) -> Version:
    tag = str(demand.requirement.tag)
    if tag in index.tags:
        return Version(index.tags[tag])
    raise ModpmError(
        f"`{index.name}` has no tag `{tag}`",
        code="unknown-tag",
        where=demand.asked_by,
        why=f"its tags are: {', '.join(sorted(index.tags)) or 'none'}",
        hint=f"ask for versions instead, such as `{index.name}>=1.0`",
    )


def _is_exact(specifiers: SpecifierSet, version: Version) -> bool:
    exact = (s for s in specifiers if s.operator in {"==", "==="} and not s.version.endswith(".*"))
    return any(s.contains(version, prereleases=True) for s in exact)


def _no_release(index: Index, demands: Sequence[Demand], place: str) -> ModpmError:
    picky = [d for d in demands if d.requirement.tag or d.requirement.specifiers]
    if len(picky) > 1:
        return ModpmError(
            f"no release of `{index.name}` satisfies everybody who asks for it",
            code="conflict",
            where=f"registry {place}",
            why="\n".join([*map(str, picky), _found(index)]),
            hint="loosen one of these requirements",
        )
    demand = (picky or demands)[0]
    requirement = demand.requirement
    asked = str(requirement.specifiers) or (f"@{requirement.tag}" if requirement.tag else "*")
    return ModpmError(
        f"no release of `{index.name}` satisfies `{asked}`",
        code="no-version-fits",
        where=f"registry {place}",
        why=f"it is asked by {demand.asked_by}; {_found(index)}",
        hint=_hint(index),
    )


def _found(index: Index) -> str:
    plain = [r.version for r in index.releases if r.yanked is None]
    yanked = [f"{r.version} is yanked: {r.yanked}" for r in index.releases if r.yanked is not None]
    aside = f" ({'; '.join(yanked)})" if yanked else ""
    return f"releases found: {', '.join(plain) or 'none'}{aside}"


def _hint(index: Index) -> str:
    offered = [r.version for r in index.releases if r.yanked is None]
    if offered:
        return f"loosen the requirement; the newest release is `{index.name}=={offered[-1]}`"
    if index.releases:
        return f"a yanked release is installed by `{index.name}=={index.releases[-1].version}`"
    return "publish a release first"
