"""Planning: what a project is to become, before anything in it is changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from packaging.version import Version

from modpm.core.errors import ModpmError
from modpm.registry.addresses import Address, addresses, given_address
from modpm.registry.catalogue import RegistryCatalogue
from modpm.registry.lockfile import Lockfile, Pin
from modpm.registry.project import Project, edited
from modpm.registry.resolver.resolution import Demand, resolve

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    from modpm.core.formats.names import ModuleName
    from modpm.core.formats.requirements import Requirement
    from modpm.registry.index import Release


@dataclass(frozen=True)
class Plan:
    """What a project is to become.

    Attributes:
        files_before: `modpm.toml` and `modpm.lock` as they were read; while they are the same,
            the plan holds.
        toml: `modpm.toml` as it is to be.
        lock: What is to be installed.
        addresses: The registries that were looked in, the first first.
    """

    files_before: tuple[bytes | None, ...]
    toml: bytes
    lock: Lockfile
    addresses: tuple[Address, ...]


@dataclass(frozen=True)
class _Request:
    """All that a project wants, the part of it that was asked for now, and what is locked."""

    wanted: Sequence[Requirement]
    asked: Sequence[Requirement]
    lock: Lockfile
    is_registry_given: bool


def plan(
    place: Project, asked: Sequence[Requirement], registry: str | os.PathLike[str] | None
) -> Plan:
    """Choose what is to be installed.

    Args:
        place: The project.
        asked: What is asked for, besides what the project asks for already.
        registry: A registry to look in first.

    Raises:
        ModpmError: `nothing-asked`, `release-changed`, or what `resolve` and the readers of
            `modpm.toml`, `modpm.lock` and indexes raise.
    """
    before = place.files()
    if not asked and before[0] is None:
        raise _nothing_asked(place)
    of_project = place.wishes().registries
    given = None if registry is None else given_address(registry, place.root, of_project)
    toml = edited(before[0] or b"", asked, given)
    wanted = place.parse_wishes(toml).all_requirements()
    usable = addresses(given, place.root, of_project)
    lock = place.lock() or Lockfile((), ())
    if asked or before[1] is None or not lock.is_for(wanted):
        lock = _resolved(_Request(wanted, asked, lock, given is not None), place, usable)
    return Plan(before, toml, lock, usable)


def _resolved(request: _Request, place: Project, usable: Sequence[Address]) -> Lockfile:
    catalogue = RegistryCatalogue(usable, place.root, _owners(request))
    locked = {pin.module: Version(pin.version) for pin in request.lock.pins}
    releases = resolve(_demands(request), catalogue, locked)
    pins = [_pin(module, release, catalogue) for module, release in releases.items()]
    for pin in pins:
        _check_unchanged(pin, request.lock, catalogue.place_of(pin.module))
    return Lockfile.of(request.wanted, pins)


def _pin(module: ModuleName, release: Release, catalogue: RegistryCatalogue) -> Pin:
    listing = catalogue.listing(module)
    revision = listing.backend.revision(module, release.version)
    return Pin.of(module, release, listing.address, revision)


def _owners(request: _Request) -> Mapping[ModuleName, Address]:
    """Return the registries that modules stay with.

    That is where they were locked from, unless a registry is named together with the module.
    """
    free = {(r.namespace, r.name) for r in request.asked} if request.is_registry_given else set()
    return {
        pin.module: pin.registry
        for pin in request.lock.pins
        if not {(pin.module.namespace, pin.module.name), (pin.module.namespace, None)} & free
    }


def _demands(request: _Request) -> list[Demand]:
    """Return what is wanted; a namespace that was locked means the modules it had then."""
    demands: list[Demand] = []
    for requirement in request.wanted:
        is_asked = requirement in request.asked
        by = "`modpm install`" if is_asked else "modpm.toml"
        if requirement.module is None and not is_asked:
            is_locked = str(requirement) in request.lock.requirements
            pins = request.lock.of_namespace(requirement.namespace) if is_locked else ()
            demands += [Demand(requirement.of(pin.module), by) for pin in pins]
            if pins:
                continue
        demands.append(Demand(requirement, by))
    return demands


def _check_unchanged(pin: Pin, lock: Lockfile, place: str) -> None:
    locked = lock.find(pin.module)
    if locked is not None and locked.version == pin.version and locked.digest != pin.digest:
        raise ModpmError(
            f"`{pin.module}` {pin.version} is not the release that was locked",
            code="release-changed",
            where=f"registry {place}",
            why=f"its digest is {pin.digest}, and modpm.lock has {locked.digest}",
            hint="a release never changes: find out who changed it before you trust it; "
            "to take it all the same, delete it from `modpm.lock`",
        )


def _nothing_asked(place: Project) -> ModpmError:
    return ModpmError(
        "nothing to install",
        code="nothing-asked",
        where=str(place.root),
        why="no requirement was given, and there is no `modpm.toml`",
        hint="name a module, such as `modpm install cifar10/cat`",
        exit_code=2,
    )
