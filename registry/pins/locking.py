"""Locking: choosing releases and writing them down, without installing any."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from modpm.core.system.durable import replace_files
from modpm.core.system.whole_files import explained
from modpm.registry.pins.planning import plan
from modpm.registry.projects.editing import Edit
from modpm.registry.projects.lockfile import Change, Lockfile, changes_between
from modpm.registry.projects.project import Project, read
from modpm.registry.projects.request import Bounds, Request

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from modpm.core.errors import ModpmError
    from modpm.core.formats.names import ModuleName
    from modpm.registry.addresses import Registries


@dataclass(frozen=True)
class Locking:
    """What `modpm.lock` became, or would become.

    Attributes:
        changes: What is not as it was, sorted by name.
        is_changed: Whether its bytes are others than before.
        yanked: Module to the reason why its release was yanked.
        problems: As of an `Installation`.
        unmeasured: As of an `Installation`.
    """

    project: Path
    lock: Lockfile
    changes: tuple[Change, ...]
    is_changed: bool
    yanked: Mapping[ModuleName, str]
    problems: Sequence[ModpmError] = ()
    unmeasured: Sequence[str] = ()


def lock(
    project: str | os.PathLike[str] = ".",
    registry: Registries = None,
    *,
    same_origin: bool | None = None,
    locked: bool = False,
    offline: bool = False,
    dry_run: bool = False,
    move_namespace: str | Sequence[str] = (),
    exclude_newer: str | None = None,
    resolve_timeout: float | None = None,
) -> Locking:
    """Choose releases for what `modpm.toml` asks, and pin them in `modpm.lock`.

    Registries are asked, and pins that still satisfy everything stay as they are.

    Args:
        project: A folder in the project.
        registry: As for `install`.
        same_origin: As for `install`.
        locked: Fail if `modpm.lock` would have to change.
        offline: Open no registry.
        dry_run: Change nothing.
        move_namespace: As for `install`.
        exclude_newer: As for `install`.
        resolve_timeout: As for `install`.

    Raises:
        ModpmError: What `plan` raises; `busy`, `disk-full`, `permission-denied`.
    """
    place = Project.discover(project)
    request = Request(
        Edit(same_origin=same_origin),
        registry,
        resolves=True,
        moved_namespaces=move_namespace,
        bounds=Bounds.of(exclude_newer, resolve_timeout),
        locked=locked,
        offline=offline,
    )
    with explained("lock"):
        while True:
            chosen, before = plan(place, request), place.lock() or Lockfile((), ())
            saved = {place.toml_path: chosen.toml, place.lock_path: chosen.lock.to_bytes()}
            contents = {p: data for p, data in saved.items() if chosen.saves and read(p) != data}
            if contents and not dry_run:
                with place.exclusively():
                    # Whoever changed the project meanwhile must not be overruled: plan again.
                    if place.files() != chosen.files_before:
                        continue
                    replace_files({place.ignore_path: b"*\n", **contents}, place.staging)
            return Locking(
                project=place.root,
                lock=chosen.lock,
                changes=changes_between(before, chosen.lock, chosen.lowered),
                is_changed=chosen.files_before[1] != chosen.lock.to_bytes(),
                yanked=chosen.yanked,
                problems=chosen.problems,
                unmeasured=chosen.unmeasured,
            )
