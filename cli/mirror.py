"""`modpm mirror`."""

from __future__ import annotations

from pathlib import Path

import click

from modpm.cli.module_table import module_data, print_copies
from modpm.cli.options import accept_rollback_option, allow_http_option
from modpm.cli.output import emit, say
from modpm.cli.progress_bar import download_bar
from modpm.registry.publication.mirroring import mirror


@click.command("mirror", epilog="Example: modpm mirror --to s3://our-bucket/modules")
@click.option("--to", metavar="URL", required=True, help="The registry to copy to.")
@allow_http_option
@accept_rollback_option
@click.option(
    "-r",
    "--lockfile",
    metavar="PATH",
    type=click.Path(path_type=Path),
    help="The lockfile; by default that of the project.",
)
@click.option(
    "--project",
    metavar="PATH",
    default=".",
    show_default="the current folder",
    help="A folder in the project.",
)
@click.option("--dry-run", is_flag=True, help="Only say what would be copied.")
@click.option("--json", "as_json", is_flag=True, help="Print the releases as JSON.")
def command(to: str, lockfile: Path | None, project: str, dry_run: bool, as_json: bool) -> None:
    """Copy what a lockfile needs into another registry.

    The copies have the same digests, so that the same lockfile can be installed from either
    registry. What is there already is left as it is; after an interruption, run it again.
    """
    with download_bar() as progress:
        copied = mirror(to, lockfile, project, dry_run=dry_run, progress=progress)
    if as_json:
        emit({"modules": [{**module_data(c), "is_new": c.is_new} for c in copied]})
        return
    print_copies(copied)
    n = sum(c.is_new for c in copied)
    say(f"{n} {'to be copied' if dry_run else 'copied'}, {len(copied) - n} there already")
