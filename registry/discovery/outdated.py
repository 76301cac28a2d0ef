"""What is installed against what there is, and what moving would do to the measured accuracy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from packaging.version import Version

from modpm.core.errors import ModpmError
from modpm.core.formats.requirements import Requirement
from modpm.registry.backends.shards import DAMAGED
from modpm.registry.index import CompositionRelease, ModuleRelease
from modpm.registry.installing.yanks import Answer, keep, newest_change
from modpm.registry.projects.project import Project
from modpm.registry.projects.request import Bounds
from modpm.registry.projects.requirement_graph import RequirementGraph
from modpm.registry.projects.sources import Sources
from modpm.registry.resolver.refusals import newest_fitting

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping, Sequence

    from modpm.core.formats.manifest import ClassMetrics
    from modpm.core.formats.measurement import Measurement
    from modpm.core.formats.names import ModuleName
    from modpm.registry.addresses import Registries
    from modpm.registry.index import Index, Release
    from modpm.registry.projects.lockfile import Pin


class Change(NamedTuple):
    """What was measured of the installed release, and of the newer one, on the same images."""

    before: ClassMetrics | Measurement
    after: ClassMetrics | Measurement


@dataclass(frozen=True)
class Standing:
    """An installed module against what its registry lists.

    Attributes:
        fitting: The newest that everybody who asks for it allows; None if there is none.
        newest: The newest at all; None if there is none.
        yanked: Why the installed release was yanked; None if it was not.
        signer: The key that the installed release is signed with, as its registry says.
        next_signer: That of the release that `measured` is of; None where there is none.
        measured: What would change from the installed release to the fitting one, or if that is
            installed, to the newest; by images that both were measured on.
    """

    name: ModuleName
    version: str
    fitting: str | None
    newest: str | None
    yanked: str | None
    signer: str | None
    next_signer: str | None
    measured: tuple[Change, ...]

    @property
    def is_outdated(self) -> bool:
        """Whether there is a newer release, or this one was yanked."""
        return self.yanked is not None or {self.fitting, self.newest} != {self.version}


def outdated(
    project: str | os.PathLike[str] = ".",
    registry: Registries = None,
    *,
    exclude_newer: str | None = None,
    on_problem: Callable[[ModpmError], None] = lambda _problem: None,
) -> list[Standing]:
    """Compare installed modules with what there is, sorted by name.

    Args:
        project: A folder in the project.
        registry: One or more registries to look in first.
        exclude_newer: As for `install`; what is installed is shown however new it is.
        on_problem: Told why a module, or a newer release of one, was left out: what is listed
            of it cannot be used.

    Returns:
        All other installed modules, those that are not outdated too.

    Raises:
        ModpmError: `bad-setting`; `lock-missing`; `unknown-module` or `other-registry`; what
            the readers of `modpm.toml`, `modpm.lock` and indexes raise.
    """
    until = Bounds.of(exclude_newer).until
    place = Project.discover(project)
    lock = place.installed() or place.locked()
    catalogue = Sources.of(place, place.wishes(), registry).catalogue(lock.pins)
    catalogue.read_ahead([pin.module for pin in lock.pins])
    changed = newest_change(place, lock.pins)
    asking = RequirementGraph(place.lock() or lock).required_by
    found = []
    for pin in lock.pins:
        edges = asking.get(pin.module, ())
        asked = [Requirement.parse(edge.requirement).of(pin.module) for edge in edges]
        try:
            listing = catalogue.listing(pin.module)
            index = listing.index.until(until, besides=Version(pin.version))
            found.append(_standing(pin, asked, index))
            problem = index.hidden(asked, pin.version, listing.backend.location)
        except ModpmError as error:
            if error.code not in DAMAGED:
                raise
            problem = error
        if problem is not None:
            on_problem(problem)
    told = {pin.digest: one.yanked for pin in lock.pins for one in found if one.name == pin.module}
    keep(place, Answer(told, changed if registry is None else None))
    return found


def _standing(pin: Pin, asked: Sequence[Requirement], index: Index) -> Standing:
    present, best = index.find(pin.version), index.newest()
    fitting = _newest_fitting(index, asked)
    is_moving = fitting is not None and fitting.version != pin.version
    after = fitting if is_moving else best
    return Standing(
        name=pin.module,
        version=pin.version,
        fitting=None if fitting is None else fitting.version,
        newest=None if best is None else best.version,
        yanked=None if present is None else present.yanked,
        signer=None if present is None else present.signer,
        next_signer=None if after is None else after.signer,
        measured=_changes(present, after),
    )


def _newest_fitting(index: Index, asked: Sequence[Requirement]) -> Release | None:
    try:
        return newest_fitting(index, asked, place="")
    except ModpmError as error:
        if error.code in {"no-version-fits", "conflict", "unknown-tag"}:
            return None
        raise


def _changes(before: Release | None, after: Release | None) -> tuple[Change, ...]:
    if before is None or after is None or before.version == after.version:
        return ()
    later = _measured(after)
    return tuple(Change(one, later[on]) for on, one in _measured(before).items() if on in later)


def _measured(release: Release) -> Mapping[object, ClassMetrics | Measurement]:
    """Return what was measured, by the images that it was measured on."""
    if isinstance(release, CompositionRelease):
        return {(one.fingerprint, one.open_set): one for one in release.composition.measured}
    return {one.split: one for one in release.metrics} if isinstance(release, ModuleRelease) else {}
