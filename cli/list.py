"""`modpm list`."""

from __future__ import annotations

import click

from modpm.cli.installation_report import warn_of_yanked_modules
from modpm.cli.module_table import installed_data, print_modules
from modpm.cli.options import json_option, project_option
from modpm.cli.output import emit, say
from modpm.registry.installing.installed import installed


@click.command("list", epilog="Example: modpm list --json")
@click.option("--ask", is_flag=True, help="Ask registries which releases were yanked.")
@project_option
@json_option
def command(ask: bool, project: str, as_json: bool) -> None:
    """List the installed class modules and compositions.

    No registry is asked without --ask: what is yanked is as it was told last, by any verb.
    """
    modules = installed(project, ask=ask)
    if as_json:
        emit({"modules": [installed_data(module) for module in modules]})
        return
    print_modules(modules)
    warn_of_yanked_modules(modules)
    if not modules:
        say("no modules are installed here")
