"""Repairing: what is damaged in `.modpm/` and in the store is fetched and made anew."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from modpm.core.errors import ModpmError
from modpm.registry.installing.fetching import fetch
from modpm.registry.installing.installation import carry_out
from modpm.registry.installing.module_folders import is_verified
from modpm.registry.pins.planning import Plan
from modpm.registry.projects.project import Project
from modpm.registry.projects.request import Request
from modpm.registry.projects.sources import Sources
from modpm.registry.projects.staleness import lock_missing
from modpm.registry.storage.store import Store
from modpm.registry.system.errors import explained
from modpm.registry.system.threads import in_threads

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence
    from pathlib import Path

    from modpm.core.formats.names import ModuleName
    from modpm.registry.addresses import Registries
    from modpm.registry.installing.installed import InstalledModule
    from modpm.registry.installing.progress import Progress
    from modpm.registry.projects.lockfile import Lockfile, Pin


@dataclass(frozen=True)
class Repair:
    """What was repaired, or would be.

    Attributes:
        project: The root of the project.
        modules: All installed modules, sorted by name.
        in_project: Modules whose files were damaged or absent in the project.
        in_store: Modules that have files that were damaged in the store.
    """

    project: Path
    modules: tuple[InstalledModule, ...]
    in_project: tuple[ModuleName, ...]
    in_store: tuple[ModuleName, ...]


def repair(
    project: str | os.PathLike[str] = ".",
    registry: Registries = None,
    *,
    offline: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> Repair:
    """Read every byte that is installed, and replace what is not as it was published.

    What is installed stays the same releases. Where the record of it is damaged, `modpm.lock` is
    installed.

    Args:
        project: A folder in the project.
        registry: One or more registries that may help out with files.
        offline: Open no registry.
        dry_run: Change nothing.
        progress: As for `install`.

    Raises:
        ModpmError: `lock-missing`, if nothing is or was to be installed; what `fetch` raises.
    """
    place = Project.discover(project)
    request = Request(offline=offline, dry_run=dry_run)
    with explained("repair"):
        lock = _lock_of(place)
        usable = Sources.of(place, place.wishes(), registry).helping
        damaged = _damaged_in_store(lock.pins)
        if not dry_run:
            fetch(damaged, usable, place.root, offline=offline, progress=progress)

    def make_plan() -> Plan:
        before = place.files()
        return Plan(before, before[0] or b"", _lock_of(place), saves=False, addresses=usable)

    outcome = carry_out(place, make_plan, request, progress, holds=is_verified)
    absent = {change.name for change in outcome.changes}
    in_project = tuple(sorted({*outcome.mended, *absent}))
    return Repair(place.root, outcome.modules, in_project, tuple(pin.module for pin in damaged))


def _lock_of(place: Project) -> Lockfile:
    try:
        lock = place.installed() or place.lock()
    except ModpmError:
        lock = place.lock()
    if lock is None:
        raise lock_missing(place)
    return lock


def _damaged_in_store(pins: Sequence[Pin]) -> list[Pin]:
    """Return the pins of which the store has a file that is not what its name says."""
    store = Store.of_user()

    def is_damaged(pin: Pin) -> bool:
        records = pin.files.values()
        return any(store.path(r.digest).exists() and not store.has(r) for r in records)

    found = in_threads(is_damaged, pins, "files cannot be read")
    return [pin for pin, is_bad in zip(pins, found, strict=True) if is_bad]
