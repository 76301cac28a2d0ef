"""`modpm remove`."""

from __future__ import annotations

import click

from modpm.cli.completion import installed_names
from modpm.cli.installation_report import report_installation
from modpm.cli.options import (
    accept_rollback_option,
    allow_http_option,
    dry_run_option,
    json_option,
    offline_option,
    project_option,
    resolve_timeout_option,
)
from modpm.registry.installing.installation import remove


@click.command("remove", epilog='Example: modpm remove cifar10/cat "mnist/*"')
@click.argument("names", shell_complete=installed_names, nargs=-1, required=True, metavar="NAME...")
@allow_http_option
@accept_rollback_option
@offline_option
@dry_run_option
@resolve_timeout_option
@project_option
@json_option
def command(
    *,
    names: tuple[str, ...],
    offline: bool,
    dry_run: bool,
    resolve_timeout: float | None,
    project: str,
    as_json: bool,
) -> None:
    """Take class modules out of this project.

    NAME is a module or a namespace that modpm.toml asks for. What only it required leaves too.
    """
    installation = remove(
        names, project, offline=offline, dry_run=dry_run, resolve_timeout=resolve_timeout
    )
    report_installation(installation, as_json=as_json, dry_run=dry_run)
