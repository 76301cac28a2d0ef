"""Updating and removing: newer releases come, and what nobody asks for any more leaves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modpm.registry.installing.installation import carry_out
from modpm.registry.pins.planning import plan
from modpm.registry.projects.editing import Edit
from modpm.registry.projects.project import Project
from modpm.registry.projects.request import (
    Bounds,
    Request,
    check_asked,
    check_locked,
    parse_selection,
)

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from modpm.registry.addresses import Registries
    from modpm.registry.installing.fetching import Progress
    from modpm.registry.installing.installation import Installation
    from modpm.registry.pins.planning import Plan


def update(
    names: Sequence[str] = (),
    project: str | os.PathLike[str] = ".",
    registry: Registries = None,
    *,
    same_origin: bool | None = None,
    offline: bool = False,
    dry_run: bool = False,
    move_namespace: str | Sequence[str] = (),
    exclude_newer: str | None = None,
    resolve_timeout: float | None = None,
    progress: Progress | None = None,
) -> Installation:
    """Move modules to the newest releases that `modpm.toml` allows, and install them (W-6).

    Args:
        names: Modules, or namespaces (`cifar10/*`), to move; all others stay where they may.
            None to move everything.
        project: A folder in the project.
        registry: As for `install`; modules that are named move to it.
        same_origin: As for `install`.
        offline: Open no registry: there is nothing to move to then.
        dry_run: Change nothing.
        move_namespace: As for `install`.
        exclude_newer: As for `install`.
        resolve_timeout: As for `install`.
        progress: As for `install`.

    Raises:
        ModpmError: `not-locked`, or as `install`.
    """
    moving = parse_selection(names)
    request = Request(
        Edit(same_origin=same_origin),
        registry,
        moving,
        moves_all=not moving,
        resolves=True,
        moved_namespaces=move_namespace,
        bounds=Bounds.of(exclude_newer, resolve_timeout),
        offline=offline,
        dry_run=dry_run,
    )
    place = Project.discover(project)

    def make_plan() -> Plan:
        check_locked(moving, place)
        return plan(place, request)

    return carry_out(place, make_plan, request, progress)


def remove(
    names: Sequence[str],
    project: str | os.PathLike[str] = ".",
    *,
    offline: bool = False,
    dry_run: bool = False,
    resolve_timeout: float | None = None,
) -> Installation:
    """Take requirements out of `modpm.toml`, and install what is left.

    No registry is asked while `modpm.lock` is in step with `modpm.toml`.

    Args:
        names: Modules, or namespaces (`cifar10/*`), as `modpm.toml` asks for them.
        project: A folder in the project.
        offline: Open no registry.
        dry_run: Change nothing.
        resolve_timeout: As for `install`.

    Raises:
        ModpmError: `not-asked`, or as `install`.
    """
    removed = parse_selection(names)
    edit = Edit(remove=removed)
    bounds = Bounds.of(resolve_timeout=resolve_timeout)
    request = Request(edit, bounds=bounds, offline=offline, dry_run=dry_run)
    place = Project.discover(project)

    def make_plan() -> Plan:
        check_asked(removed, place)
        return plan(place, request)

    return carry_out(place, make_plan, request)
