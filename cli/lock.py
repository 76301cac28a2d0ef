"""`modpm lock`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

import click

from modpm.cli.installation_report import (
    changes_data,
    say_changes,
    say_unmeasured,
    warn_of_yanked,
    yanked_data,
)
from modpm.cli.module_table import pin_data
from modpm.cli.options import Choosing, choosing_options
from modpm.cli.output import counted, emit, say, warn_of
from modpm.registry.pins.locking import lock

if TYPE_CHECKING:
    from modpm.registry.pins.locking import Locking


@click.command("lock", epilog="Example: modpm lock --locked")
@click.option("--locked", is_flag=True, help="Fail if modpm.lock would have to change.")
@choosing_options
def command(*, locked: bool, as_json: bool, **options: Unpack[Choosing]) -> None:
    """Choose releases for what modpm.toml asks, and pin them in modpm.lock.

    Installs nothing. Modules that are pinned already stay as they are; `modpm update` moves them.
    """
    locking, dry_run = lock(locked=locked, **options), options["dry_run"]
    say_changes(locking.changes, dry_run=dry_run)
    say_unmeasured(locking.unmeasured, dry_run=dry_run)
    warn_of_yanked(locking.yanked)
    for problem in locking.problems:
        warn_of(problem)
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
        "unmeasured": [*locking.unmeasured],
        "dry_run": dry_run,
    }
