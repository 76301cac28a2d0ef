"""Syncing: `.modpm/` becomes exactly what `modpm.lock` says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modpm.registry.installing.installation import carry_out
from modpm.registry.pins.planning import plan_of_lock
from modpm.registry.projects.project import Project
from modpm.registry.projects.request import Request

if TYPE_CHECKING:
    import os

    from modpm.registry.addresses import Registries
    from modpm.registry.installing.installation import Installation
    from modpm.registry.installing.progress import Progress


def sync(
    project: str | os.PathLike[str] = ".",
    registry: Registries = None,
    *,
    frozen: bool = False,
    offline: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> Installation:
    """Install what `modpm.lock` pins and nothing else; nothing is resolved (W-9).

    Args:
        project: A folder in the project.
        registry: One or more registries that may help out with files.
        frozen: Do not look at what `modpm.toml` asks for.
        offline: Open no registry.
        dry_run: Change nothing.
        progress: As for `install`.

    Raises:
        ModpmError: `lock-missing`; `lock-out-of-date`, unless the lockfile is frozen; what
            `fetch` raises, and what `verify_distribution` raises for what a registry gives.
    """
    place = Project.discover(project)
    request = Request(offline=offline, dry_run=dry_run)
    return carry_out(place, lambda: plan_of_lock(place, registry, frozen=frozen), request, progress)
