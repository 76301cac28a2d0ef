"""`modpm browse`."""

from __future__ import annotations

import click

from modpm.browsing.browse import PORT, browse
from modpm.cli.options import allow_http_option, project_option
from modpm.cli.output import say


@click.command(
    "browse",
    epilog="Example: modpm browse --registry modules; modpm browse dist --export site",
)
@click.argument("folder", required=False)
@click.option("--registry", metavar="URL", help="Show this registry.")
@allow_http_option
@project_option
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=PORT,
    show_default=True,
    help="Where pages are, on this machine; 0 for any port that is free.",
)
@click.option("--export", metavar="DIR", help="Write the pages to this folder, and serve nothing.")
def command(
    *, folder: str | None, registry: str | None, project: str, port: int, export: str | None
) -> None:
    """Look for, compare and try class modules on web pages, on this machine.

    Shows the distributions in FOLDER, or the registry that is named, or else what the project has
    installed. Ends when it is interrupted.
    """
    browse(folder, project, registry, port=port, export=export, report=say)
