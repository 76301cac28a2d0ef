"""`modpm sync`."""

from __future__ import annotations

import click

from modpm.cli.installation_report import report_installation
from modpm.cli.options import (
    dry_run_option,
    helping_registry_option,
    json_option,
    offline_option,
    project_option,
)
from modpm.cli.progress_bar import download_bar
from modpm.registry.installing.installation import sync


@click.command("sync", epilog="Example: modpm sync --offline")
@helping_registry_option
@click.option(
    "--locked",
    is_flag=True,
    expose_value=False,
    help="Fail if modpm.lock would have to change, as it does without this too.",
)
@click.option("--frozen", is_flag=True, help="Do not look at what modpm.toml asks for.")
@offline_option
@dry_run_option
@project_option
@json_option
def command(
    *,
    registry: tuple[str, ...],
    frozen: bool,
    offline: bool,
    dry_run: bool,
    project: str,
    as_json: bool,
) -> None:
    """Make .modpm/ exactly what modpm.lock says.

    Nothing is resolved, and modpm.lock never changes. Fails if it was not made for what
    modpm.toml asks for. Says which releases were yanked: registries are asked where files come
    from them, where an index in a folder has changed, and others once a day.
    """
    with download_bar() as progress:
        installation = sync(
            project,
            registry,
            frozen=frozen,
            offline=offline,
            dry_run=dry_run,
            progress=progress,
        )
    report_installation(installation, as_json=as_json, dry_run=dry_run)
