"""Choosing the pins: those that are locked, as far as they meet what is asked; else registries."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from packaging.version import Version

from modpm.core.errors import ModpmError
from modpm.core.formats.requirements import Requirement
from modpm.core.system.threads import in_threads
from modpm.registry.backends.opening import is_remote
from modpm.registry.backends.retrying import hurried
from modpm.registry.permissions import ROLLBACKS
from modpm.registry.pins.planning import Choice
from modpm.registry.projects.lockfile import Lockfile, Pin
from modpm.registry.projects.project import LOCK_FILE, PROJECT_FILE
from modpm.registry.projects.requirement_graph import RequirementGraph, lock_problems, out_of_date

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from modpm.core.formats.names import ModuleName
    from modpm.registry.addresses import Address
    from modpm.registry.backends.protocol import Backend
    from modpm.registry.catalogue import RegistryCatalogue
    from modpm.registry.index import Release
    from modpm.registry.projects.project import Project, Wishes
    from modpm.registry.projects.request import Request
    from modpm.registry.projects.sources import Sources
    from modpm.registry.resolver.refusals import Demand


def chosen_pins(
    place: Project, request: Request, wishes: Wishes, lock: Lockfile, sources: Sources
) -> Choice:
    """Choose what is to be pinned.

    Raises:
        ModpmError: `offline` or `lock-out-of-date`, if registries have to be asked and may not;
            `other-registry`, `release-changed`, `rolled-back`, or what `resolve` raises.
    """
    if not wishes.requirements:
        return Choice(Lockfile((), (), wishes.same_origin))
    moves = request.moves_all or request.moving
    is_kept = not request.resolves or (request.offline and not moves)
    if is_kept and not request.looks_up and not sources.problems(lock.pins):
        same = kept(lock, wishes.all_requirements(), same_origin=wishes.same_origin)
        if same is not None:
            return Choice(same)
    if request.offline:
        raise ModpmError(
            f"`{LOCK_FILE}` has to change, and that needs registries",
            code="offline",
            where=str(place.root),
            why=f"`--offline` opens none, and `{LOCK_FILE}` does not have what is asked",
            hint="run it without `--offline`, or install what is locked by `modpm sync --frozen`",
        )
    if request.locked and not request.resolves:
        raise out_of_date(place, lock_problems(lock, wishes, sources))
    return _resolved(request, wishes, lock, sources)


def kept(
    lock: Lockfile, requirements: Sequence[Requirement], *, same_origin: bool
) -> Lockfile | None:
    """Return the part of a lockfile that requirements need, if it meets all of them; None if not.

    Resolving with the pins as preferences would choose the same: a pin that still satisfies what
    is asked stays.
    """
    graph = RequirementGraph(
        msgspec.structs.replace(lock, requirements=tuple(map(str, requirements)))
    )
    locked = set(lock.requirements)
    new = [requirement for requirement in requirements if str(requirement) not in locked]
    # Which origins there are only registries know.
    if same_origin and (new or not lock.same_origin):
        return None
    # What a tag or a namespace means only registries know.
    if any(one.module is None or one.tag is not None for one in new) or any(graph.unmet()):
        return None
    pins = [pin for pin in lock.pins if pin.module in graph.reached]
    return Lockfile.of(
        requirements,
        pins,
        same_origin=same_origin,
        signers=lock.signers,
        measured=lock.measured,
    )


def _resolved(request: Request, wishes: Wishes, lock: Lockfile, sources: Sources) -> Choice:
    """Choose pins by asking registries; locked ones stay where they may."""
    from modpm.registry.resolver.resolution import resolve  # noqa: PLC0415 -- slow to import

    catalogue = sources.catalogue(lock.pins, request.named_namespaces)
    catalogue.read_ahead([pin.module for pin in lock.pins])
    locked = {
        pin.module: Version(pin.version)
        for pin in lock.pins
        if not request.moves(pin.module.namespace, pin.module.name)
    }
    wanted = wishes.all_requirements()
    demands = _demands(wanted, request, lock)
    releases = resolve(
        demands,
        catalogue,
        locked,
        same_origin=wishes.same_origin,
        limit_seconds=request.bounds.limit_seconds,
        until=request.bounds.until,
    )
    for pin in lock.pins:  # what was there must not be left out without a word
        if pin.module in catalogue.left_out:
            raise catalogue.left_out[pin.module]
    pins = _pins(releases, catalogue)
    before = {pin.module: pin for pin in lock.pins}
    for pin in pins:
        _check_unchanged(pin, before.get(pin.module), catalogue.place_of(pin.module))
    chosen = Lockfile.of(
        wanted,
        pins,
        same_origin=wishes.same_origin,
        signers=lock.signers,
        measured=lock.measured,
    )
    lowered = {
        pin.module: _why_lowered(before[pin.module], pin, wanted, catalogue, request.bounds.until)
        for pin in pins
        if pin.module in before and Version(pin.version) < Version(before[pin.module].version)
    }
    left_out = [*catalogue.left_out.values(), *_hidden(chosen, locked, catalogue)]
    return Choice(chosen, releases, lowered, left_out)


def _hidden(
    chosen: Lockfile, locked: Mapping[ModuleName, Version], catalogue: RegistryCatalogue
) -> Iterator[ModpmError]:
    """Say which newer releases would have been chosen if they could be used."""
    asking = RequirementGraph(chosen).required_by
    for pin in chosen.pins:
        if locked.get(pin.module) != Version(pin.version):
            asked = [Requirement.parse(one.requirement) for one in asking.get(pin.module, ())]
            listing = catalogue.listing(pin.module)
            problem = listing.index.hidden(asked, pin.version, listing.backend.location)
            yield from () if problem is None else (problem,)


def _why_lowered(
    locked: Pin,
    pin: Pin,
    wanted: Sequence[Requirement],
    catalogue: RegistryCatalogue,
    until: str | None,
) -> str:
    """Return why a lower version is taken than the one that was locked (W-19).

    Raises:
        ModpmError: `rolled-back`, if its registry has lost that one, which would fit;
            `skipped-release`, if that cannot be used any more.
    """
    asked = [requirement for requirement in wanted if requirement.is_on(pin.module)]
    if not all(requirement.admits(locked.version) for requirement in asked):
        return f"{locked.version} does not fit what is asked for"
    release = catalogue.index(pin.module).find(locked.version)
    if release is None:
        if locked.registry == pin.registry and not ROLLBACKS.is_given:
            raise ModpmError(
                f"`{pin.module}` {locked.version} is locked, and its registry does not list it "
                "any more",
                code="rolled-back",
                where=f"registry {catalogue.place_of(pin.module)}",
                why="a release is never removed: an older one would take its place",
                hint="ask whoever keeps it; take what it has all the same by `--accept-rollback`",
            )
        return f"{locked.version} is not listed"
    if release.yanked is not None:
        return f"{locked.version} was yanked: {release.yanked}"
    if release.is_newer_than(until):
        return f"{locked.version} was published later than asked for"
    return f"{locked.version} does not fit what others ask for"


def _demands(wanted: Sequence[Requirement], request: Request, lock: Lockfile) -> list[Demand]:
    """Return what is wanted; a namespace that was locked means the modules it had then."""
    from modpm.registry.resolver.refusals import Demand  # noqa: PLC0415 -- slow to import

    demands: list[Demand] = []
    for requirement in wanted:
        by = "`modpm install`" if requirement in request.edit.add else PROJECT_FILE
        known = _known_modules(requirement, request, lock)
        demands += [Demand(requirement.of(module), by) for module in known]
        if not known:
            demands.append(Demand(requirement, by))
    return demands


def _known_modules(requirement: Requirement, request: Request, lock: Lockfile) -> list[ModuleName]:
    is_asked = requirement in request.edit.add or request.moves(requirement.namespace, None)
    if requirement.module is not None or is_asked or str(requirement) not in lock.requirements:
        return []
    return [pin.module for pin in lock.pins if requirement.is_on(pin.module)]


def _pins(releases: Mapping[ModuleName, Release], catalogue: RegistryCatalogue) -> list[Pin]:
    def pin(module: ModuleName) -> Pin:
        listing, release = catalogue.listing(module), releases[module]
        revision = listing.backend.revision(module, release.version)
        return Pin.of(module, release, listing.address, revision)

    def is_near(module: ModuleName) -> bool:
        return not is_remote(catalogue.listing(module).backend.location)

    what = "releases cannot be looked up"
    return in_threads(pin, list(releases), what, is_brief=is_near)


def _check_unchanged(pin: Pin, locked: Pin | None, place: str) -> None:
    if locked is None or locked.version != pin.version:
        return
    why = None
    if locked.digest != pin.digest:
        why = f"its digest is {pin.digest}, and {LOCK_FILE} has {locked.digest}"
    elif locked.registry == pin.registry and (
        None not in {locked.revision, pin.revision} and locked.revision != pin.revision
    ):
        why = f"its commit is {pin.revision}, and {LOCK_FILE} has {locked.revision}"
    if why is not None:
        raise ModpmError(
            f"`{pin.module}` {pin.version} is not the release that was locked",
            code="release-changed",
            where=f"registry {place}",
            why=why,
            hint="a release never changes: find out who changed it before you trust it. "
            "`modpm sync` goes on installing what was locked; to take the other all the same, "
            f"delete the module from `{LOCK_FILE}`",
        )


def yanked_reasons(pins: Iterable[Pin], base: Path) -> dict[ModuleName, str]:
    """Return for releases that their registries have yanked since they were locked why (W-8).

    Raises:
        ModpmError: As `told_yanks`.
    """
    return {module: why for module, why in told_yanks(pins, base).items() if why is not None}


def told_yanks(pins: Iterable[Pin], base: Path) -> dict[ModuleName, str | None]:
    """Return for releases why their registries have yanked them; None for those that they offer.

    A registry that does not answer, or may not be read, is no fault here, and not waited for:
    whoever needs its files will say so. One that has gone back could hide a yank.

    Raises:
        ModpmError: `rolled-back`, `release-changed`.
    """
    of_registry: dict[Address, list[Pin]] = {}
    for pin in pins:
        of_registry.setdefault(pin.registry, []).append(pin)
    found: dict[ModuleName, str | None] = {}
    for address, locked in of_registry.items():
        try:
            with hurried():
                found |= _reasons(address.open(base), locked)
        except ModpmError as error:
            if error.code in {"rolled-back", "release-changed"}:
                raise
        except OSError:
            continue
    return found


def _reasons(backend: Backend, pins: Sequence[Pin]) -> dict[ModuleName, str | None]:
    from modpm.registry.backends.shards import unless_damaged  # noqa: PLC0415 -- as below
    from modpm.registry.index import release_in  # noqa: PLC0415 -- as below
    from modpm.registry.seen import Seen  # noqa: PLC0415 -- only where a registry is asked

    seen = Seen()

    def listed(pin: Pin) -> Release | None:
        index, _ = unless_damaged(lambda: seen.index(backend, pin.module))
        release, _ = unless_damaged(lambda: release_in(index, pin.version))
        return release

    releases = in_threads(listed, pins, "indexes cannot be read")
    found = zip(pins, releases, strict=True)
    return {pin.module: one.yanked for pin, one in found if one is not None}
