"""What publishing does, whatever kind a registry is: what is new there, and in which order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from packaging.version import Version

from modpm.core.errors import ModpmError
from modpm.core.formats.composition_manifest import CompositionManifest
from modpm.core.formats.names import ModuleName
from modpm.core.system.threads import in_threads
from modpm.registry.backends.protocol import Published
from modpm.registry.backends.refusals import Conflict, check_same, conflict, refuse_conflicts
from modpm.registry.index import CompositionRelease, Index, Release, release_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from modpm.core.formats.distribution import Distribution
    from modpm.registry.backends.protocol import Backend

Result = TypeVar("Result")


@dataclass(frozen=True, eq=False)
class Entry:
    """A verified distribution on its way into a registry, which may list its release already."""

    distribution: Distribution
    module: ModuleName
    release: Release
    is_new: bool

    def published(self, location: str, *, is_new: bool) -> Published:
        """Return the release as a registry has it."""
        one, signer = self.release, self.release.signer
        what = self.module, one.version, one.digest, one.size_bytes
        return Published(*what, location, is_new=is_new, signer=signer)


def is_composition(distribution: Distribution) -> bool:
    """Tell compositions from class modules, which go first (V-14)."""
    return isinstance(distribution.manifest, CompositionManifest)


def listed_index(target: Backend, module: ModuleName) -> Index | None:
    """Return what is listed for a name; None if nothing is, or nothing was published there yet."""
    try:
        return target.index(module)
    except ModpmError as error:
        if error.code not in {"registry-missing", "not-a-registry"}:  # publishing makes it one
            raise
        return None


def planned(
    distributions: Iterable[Distribution],
    listed: Callable[[ModuleName, Version], Release | None],
    location: str,
) -> list[Entry]:
    """Say of each distribution whether it is new, by what is listed; compositions come last.

    Raises:
        ModpmError: `version-taken`, if versions have other bytes or another signature, there or
            among these, naming all; `bad-signature`.
    """
    known: dict[tuple[ModuleName, Version], Release] = {}
    entries: list[Entry] = []
    conflicts: list[Conflict] = []
    for distribution in sorted(distributions, key=is_composition):
        release = Release.of_distribution(distribution)
        name = ModuleName.parse(distribution.manifest.name), Version(release.version)
        there = known.get(name) or listed(*name)
        if there is not None:
            conflicts += filter(None, [conflict(there, name[0], release)])
        known[name] = there or release
        entries.append(Entry(distribution, name[0], known[name], there is None))
    refuse_conflicts(conflicts, location)
    return entries


def planned_by_module(
    distributions: Sequence[Distribution],
    index: Callable[[ModuleName], Index | None],
    location: str,
) -> tuple[list[Entry], list[list[Entry]]]:
    """Return all distributions as `planned`, and the new ones by module.

    That is before anything is published: what could not be listed is not uploaded.

    Raises:
        ModpmError: As `planned`; what reading an index raises, and writing one that would be
            unreadable: what could not be listed is not uploaded.
    """
    modules = sorted({ModuleName.parse(one.manifest.name) for one in distributions})
    read = in_threads(index, modules, "indexes cannot be read")
    indexes = dict(zip(modules, read, strict=True))
    entries = planned(distributions, lambda name, v: release_in(indexes[name], v), location)
    groups = by_module(entry for entry in entries if entry.is_new)
    for group in groups:
        listed_with(group, indexes[group[0].module], location).to_bytes()
    return entries, groups


def listed_with(entries: Sequence[Entry], before: Index | None, location: str) -> Index:
    """Return an index with the releases of one module more, of which some may be there.

    Raises:
        ModpmError: `version-taken`.
    """
    index = before or Index(name=str(entries[0].module))
    for entry in entries:
        there = index.find(entry.release.version)
        if there is None:
            index = index.with_release(entry.release)
        else:
            check_same(there, entry.module, entry.release, location)
    return index


def by_module(entries: Iterable[Entry]) -> list[list[Entry]]:
    """Return the entries of each module, modules in the order of their first."""
    groups: dict[ModuleName, list[Entry]] = {}
    for entry in entries:
        groups.setdefault(entry.module, []).append(entry)
    return list(groups.values())


def in_waves(
    work: Callable[[Sequence[Entry]], Result], groups: Iterable[Sequence[Entry]], what: str
) -> list[Result]:
    """Do some work for each group of entries: first for those that hold no composition (V-14).

    The results are in no order.

    Raises:
        ModpmError: As `in_threads`; the second wave is not begun then.
    """
    waves: tuple[list[Sequence[Entry]], list[Sequence[Entry]]] = ([], [])
    for group in groups:
        waves[any(isinstance(entry.release, CompositionRelease) for entry in group)].append(group)
    return [result for wave in waves for result in in_threads(work, wave, what)]
