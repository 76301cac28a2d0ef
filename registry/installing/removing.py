"""Removing: what a project no longer asks for leaves, with everything that only it required."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modpm.registry.installing.installation import carry_out
from modpm.registry.pins.planning import plan
from modpm.registry.projects.editing import Edit
from modpm.registry.projects.project import Project
from modpm.registry.projects.request import Bounds, Request
from modpm.registry.projects.selection import check_asked, parse_selection

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from modpm.registry.installing.installation import Installation
    from modpm.registry.pins.planning import Plan


def remove(
    names: Sequence[str],
    project: str | os.PathLike[str] = ".",
    *,
    offline: bool = False,
    dry_run: bool = False,
) -> Installation:
    """Take requirements out of `modpm.toml`, and install what is left.

    No registry is asked while `modpm.lock` is in step with `modpm.toml`.

    Args:
        names: Modules, or namespaces (`cifar10/*`), as `modpm.toml` asks for them.
        project: A folder in the project.
        offline: Open no registry.
        dry_run: Change nothing.

    Raises:
        ModpmError: `not-asked`, or as `install`.
    """
    removed = parse_selection(names)
    edit = Edit(remove=removed)
    request = Request(edit, bounds=Bounds.of(), offline=offline, dry_run=dry_run)
    place = Project.discover(project)

    def make_plan() -> Plan:
        check_asked(removed, place)
        return plan(place, request)

    return carry_out(place, make_plan, request)
