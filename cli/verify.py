"""`modpm verify`."""

from __future__ import annotations

import click

from modpm.cli.module_table import installed_data
from modpm.cli.options import json_option, project_option
from modpm.cli.output import counted, emit, say
from modpm.registry.installing.verification import verify


@click.command("verify", epilog="Example: modpm verify")
@project_option
@json_option
def command(project: str, as_json: bool) -> None:
    """Check installed class modules against modpm.lock and their digests.

    Every byte is read. Exits with 1, and names what is wrong, if anything is.
    """
    modules = verify(project)
    if as_json:
        emit({"modules": [installed_data(module) for module in modules]})
        return
    say(f"all is intact: {counted(len(modules), 'module')}")
