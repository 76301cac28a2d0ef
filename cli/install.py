"""`modpm install`."""

from __future__ import annotations

import click

from modpm.cli.completion import known_names
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
from modpm.registry.installing.installation import install


@click.command(
    "install",
    epilog='Example: modpm install cifar10/cat "cifar10/dog>=1.2,<2" "mnist/*"',
)
@click.argument("requirements", shell_complete=known_names, nargs=-1, metavar="[REQ]...")
@added_registry_option
@move_namespace_option
@same_origin_option
@click.option("--locked", is_flag=True, help="Fail if modpm.lock would have to change.")
@click.option(
    "--frozen", is_flag=True, help="Install modpm.lock as it is, whatever modpm.toml says."
)
@offline_option
@dry_run_option
@click.option(
    "--no-save",
    "save",
    flag_value=False,
    default=True,
    help="Write neither modpm.toml nor modpm.lock.",
)
@exclude_newer_option
@resolve_timeout_option
@project_option
@json_option
def command(
    *,
    requirements: tuple[str, ...],
    registry: tuple[str, ...],
    move_namespace: tuple[str, ...],
    same_origin: bool | None,
    locked: bool,
    frozen: bool,
    offline: bool,
    dry_run: bool,
    save: bool,
    exclude_newer: str | None,
    resolve_timeout: float | None,
    project: str,
    as_json: bool,
) -> None:
    """Install class modules into this project.

    REQ is a module (cifar10/cat), perhaps with versions (cifar10/cat>=1.2,<2) or a tag
    (cifar10/cat@stable), or a whole namespace (cifar10/*). The newest releases that fit are
    verified, installed into .modpm/, pinned in modpm.lock, and asked for in modpm.toml.
    Modules that are pinned already stay as they are. Without REQ, installs what modpm.toml and
    modpm.lock say.
    """
    with download_bar() as progress:
        installation = install(
            requirements,
            project,
            registry,
            same_origin=same_origin,
            locked=locked,
            frozen=frozen,
            offline=offline,
            dry_run=dry_run,
            save=save,
            move_namespace=move_namespace,
            exclude_newer=exclude_newer,
            resolve_timeout=resolve_timeout,
            progress=progress,
        )
    report_installation(installation, as_json=as_json, dry_run=dry_run)
