"""`modpm lock`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from modpm.cli.installation_report import changes_data, say_changes, warn_of_yanked, yanked_data
from modpm.cli.module_table import pin_data
from modpm.cli.options import (
    added_registry_option,
    dry_run_option,
    exclude_newer_option,
    json_option,
    move_namespace_option,
    offline_option,
    project_option,
    resolve_timeout_option,
    same_origin_option,
)
from modpm.cli.output import counted, emit, say
from modpm.registry.pins.locking import lock

if TYPE_CHECKING:
    from modpm.registry.pins.locking import Locking


@click.command("lock", epilog="Example: modpm lock --locked")
@added_registry_option
@move_namespace_option
@same_origin_option
@click.option("--locked", is_flag=True, help="Fail if modpm.lock would have to change.")
@offline_option
@dry_run_option
@exclude_newer_option
@resolve_timeout_option
@project_option
@json_option
def command(
    *,
    registry: tuple[str, ...],
    move_namespace: tuple[str, ...],
    same_origin: bool | None,
    locked: bool,
    offline: bool,
    dry_run: bool,
    exclude_newer: str | None,
    resolve_timeout: float | None,
    project: str,
    as_json: bool,
) -> None:
    """Choose releases for what modpm.toml asks, and pin them in modpm.lock.

    Installs nothing. Modules that are pinned already stay as they are; `modpm update` moves them.
    """
    locking = lock(
        project,
        registry,
        same_origin=same_origin,
        locked=locked,
        offline=offline,
        dry_run=dry_run,
        move_namespace=move_namespace,
        exclude_newer=exclude_newer,
        resolve_timeout=resolve_timeout,
    )
    say_changes(locking.changes, dry_run=dry_run)
    warn_of_yanked(locking.yanked)
    if not locking.changes:
        n_modules = counted(len(locking.lock.pins), "module")
        say(f"the same releases are locked: {n_modules}")
    if as_json:
        emit(_data(locking, dry_run=dry_run))


def _data(locking: Locking, *, dry_run: bool) -> dict[str, object]:
    return {
        "modules": [pin_data(pin, locking.project) for pin in locking.lock.pins],
        "changes": changes_data(locking.changes),
        "is_changed": locking.is_changed,
        "yanked": yanked_data(locking.yanked),
        "dry_run": dry_run,
    }
