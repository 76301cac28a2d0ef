"""Repairing: what is damaged in `.modpm/` and in the store is fetched and made anew."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from modpm.core.errors import ModpmError
from modpm.core.system.threads import in_threads
from modpm.core.system.whole_files import explained
from modpm.registry.installing.fetching import fetch
from modpm.registry.installing.installation import carry_out
from modpm.registry.installing.module_folders import is_verified
from modpm.registry.installing.verification import damage
from modpm.registry.pins.planning import Plan
from modpm.registry.projects.request import Request
from modpm.registry.projects.sources import Sources

if TYPE_CHECKING:
    from modpm.registry.addresses import Registries
    from modpm.registry.installing.fetching import Progress
    from modpm.registry.projects.lockfile import Lockfile
    from modpm.registry.projects.project import Project


def repaired(
    place: Project, registry: Registries, *, offline: bool, progress: Progress | None
) -> list[str]:
    """Read every byte that is installed, replace what is not as it was published, and return it.

    What is installed stays the same releases. Where the record of it is damaged, `modpm.lock` is
    installed.
    """
    lock = _lock_of(place)
    if lock is None:
        return []
    with explained("repair"):
        usable = Sources.of(place, place.wishes(), registry).helping
        found = in_threads(lambda pin: damage(place, pin), lock.pins, "files cannot be read")
        damaged = [pin for pin, problems in zip(lock.pins, found, strict=True) if problems]
        fetch(damaged, usable, place.root, offline=offline, progress=progress)

    def make_plan() -> Plan:
        before = place.files()
        same = _lock_of(place) or lock
        return Plan(same, files_before=before, toml=before[0] or b"", addresses=usable)

    outcome = carry_out(place, make_plan, Request(offline=offline), progress, holds=is_verified)
    unrecorded = (f"{change.name}: was not recorded as installed" for change in outcome.changes)
    return [*chain.from_iterable(found), *unrecorded]


def _lock_of(place: Project) -> Lockfile | None:
    try:
        return place.installed() or place.lock()
    except ModpmError:
        return place.lock()
