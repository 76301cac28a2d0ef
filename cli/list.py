"""`modpm list`."""

from __future__ import annotations

import click

from modpm.cli.module_table import installed_data, print_modules
from modpm.cli.options import json_option, project_option
from modpm.cli.output import emit, say
from modpm.registry.installing.installed import installed


@click.command("list", epilog="Example: modpm list --json")
@project_option
@json_option
def command(project: str, as_json: bool) -> None:
    """List the installed class modules and compositions."""
    modules = installed(project)
    if as_json:
        emit({"modules": [installed_data(module) for module in modules]})
        return
    print_modules(modules)
    if not modules:
        say("no modules are installed here")
