"""`modpm repair`."""

from __future__ import annotations

import click

from modpm.cli.module_table import installed_data
from modpm.cli.options import (
    dry_run_option,
    helping_registry_option,
    json_option,
    offline_option,
    project_option,
)
from modpm.cli.output import counted, emit, say
from modpm.cli.progress_bar import download_bar
from modpm.registry.installing.repairing import repair


@click.command("repair", epilog="Example: modpm repair")
@helping_registry_option
@offline_option
@dry_run_option
@project_option
@json_option
def command(
    *, registry: tuple[str, ...], offline: bool, dry_run: bool, project: str, as_json: bool
) -> None:
    """Fetch and make anew what is damaged, in .modpm/ and in the store.

    Every byte is read. What is installed stays the same releases.
    """
    with download_bar() as progress:
        repaired = repair(project, registry, offline=offline, dry_run=dry_run, progress=progress)
    is_done = "is damaged" if dry_run else "was repaired"
    for name in repaired.in_store:
        say(f"! {name} {is_done} in the store")
    for name in repaired.in_project:
        say(f"! {name} {is_done} in the project")
    if not repaired.in_project and not repaired.in_store:
        n_modules = counted(len(repaired.modules), "module")
        say(f"all is intact: {n_modules}")
    if as_json:
        emit(
            {
                "modules": [installed_data(module) for module in repaired.modules],
                "in_project": [str(name) for name in repaired.in_project],
                "in_store": [str(name) for name in repaired.in_store],
                "dry_run": dry_run,
            }
        )
