"""`modpm update`."""

from __future__ import annotations

from typing import Unpack

import click

from modpm.cli.completion import installed_names
from modpm.cli.installation_report import report_installation
from modpm.cli.options import Choosing, choosing_options
from modpm.cli.progress_bar import download_bar
from modpm.registry.installing.installation import update


@click.command("update", epilog="Example: modpm update cifar10/cat")
@click.argument("names", shell_complete=installed_names, nargs=-1, metavar="[NAME]...")
@choosing_options
def command(*, names: tuple[str, ...], as_json: bool, **options: Unpack[Choosing]) -> None:
    """Move modules to the newest releases that modpm.toml allows, and install them.

    NAME is a locked module (cifar10/cat) or namespace (cifar10/*); all others stay as they are
    as far as they may. Without NAME, everything moves.
    """
    with download_bar() as progress:
        installation = update(names, progress=progress, **options)
    report_installation(installation, as_json=as_json, dry_run=options["dry_run"])
