"""`modpm whoami`."""

from __future__ import annotations

import click

from modpm.cli.options import allow_http_option
from modpm.cli.output import emit, show


@click.command("whoami", epilog="Example: modpm whoami")
@allow_http_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(*, as_json: bool) -> None:
    """Show who is logged in to the Hugging Face Hub."""
    from modpm.registry.backends.hub.login import whoami  # noqa: PLC0415 -- not for `--help`

    identity = whoami()
    if as_json:
        organizations = list(identity.organizations)
        emit({"name": identity.name, "organizations": organizations, "hub": identity.endpoint})
        return
    show(identity.name)
