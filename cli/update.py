"""`modpm update`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

import click

from modpm.cli.completion import installed_names
from modpm.cli.installation_report import report_installation
from modpm.cli.measured_update import measure_again
from modpm.cli.options import Choosing, accuracy_option, choosing_options
from modpm.cli.progress_bar import download_bar
from modpm.registry.installing.installation import update

if TYPE_CHECKING:
    from modpm.verbs.measuring_update import MeasuredUpdate


@click.command("update", epilog="Example: modpm update cifar10/cat")
@click.argument("names", shell_complete=installed_names, nargs=-1, metavar="[NAME]...")
@accuracy_option
@choosing_options
def command(
    *, names: tuple[str, ...], accuracy: str | None, as_json: bool, **options: Unpack[Choosing]
) -> None:
    """Move modules to the newest releases that modpm.toml allows, and install them.

    NAME is a locked module (cifar10/cat) or namespace (cifar10/*); all others stay as they are
    as far as they may. Without NAME, everything moves.

    With --dry-run and --accuracy, the newer releases come into the store and what each label
    of the recorded classifiers would gain or lose is measured; the project stays as it is.
    """
    if accuracy is not None and not options["dry_run"]:
        raise click.UsageError("`--accuracy DATA` goes with `--dry-run`")
    with download_bar() as progress:
        installation = update(names, progress=progress, **options)
    measured: list[MeasuredUpdate] | None = None
    if accuracy is not None:
        measured = measure_again(installation, accuracy, offline=options["offline"])
    report_installation(
        installation, as_json=as_json, dry_run=options["dry_run"], measured=measured
    )
