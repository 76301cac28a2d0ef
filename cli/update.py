"""`modpm update`."""

from __future__ import annotations

import click

from modpm.cli.completion import installed_names
from modpm.cli.installation_report import report_installation
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
from modpm.cli.progress_bar import download_bar
from modpm.registry.installing.updating import update


@click.command("update", epilog="Example: modpm update cifar10/cat")
@click.argument("names", shell_complete=installed_names, nargs=-1, metavar="[NAME]...")
@added_registry_option
@move_namespace_option
@same_origin_option
@offline_option
@dry_run_option
@exclude_newer_option
@resolve_timeout_option
@project_option
@json_option
def command(
    *,
    names: tuple[str, ...],
    registry: tuple[str, ...],
    move_namespace: tuple[str, ...],
    same_origin: bool | None,
    offline: bool,
    dry_run: bool,
    exclude_newer: str | None,
    resolve_timeout: float | None,
    project: str,
    as_json: bool,
) -> None:
    """Move modules to the newest releases that modpm.toml allows, and install them.

    NAME is a locked module (cifar10/cat) or namespace (cifar10/*); all others stay as they are
    as far as they may. Without NAME, everything moves.
    """
    with download_bar() as progress:
        installation = update(
            names,
            project,
            registry,
            same_origin=same_origin,
            offline=offline,
            dry_run=dry_run,
            move_namespace=move_namespace,
            exclude_newer=exclude_newer,
            resolve_timeout=resolve_timeout,
            progress=progress,
        )
    report_installation(installation, as_json=as_json, dry_run=dry_run)
