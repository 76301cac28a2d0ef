"""`modpm verify`."""

from __future__ import annotations

import click

from modpm.cli.module_table import installed_data
from modpm.cli.options import helping_registry_option, json_option, offline_option, project_option
from modpm.cli.output import counted, emit, say
from modpm.cli.progress_bar import download_bar
from modpm.registry.installing.verification import verify


@click.command("verify", epilog="Example: modpm verify --repair")
@click.option("--repair", is_flag=True, help="Fetch and make anew what is damaged, first.")
@helping_registry_option
@offline_option
@project_option
@json_option
def command(
    *, repair: bool, registry: tuple[str, ...], offline: bool, project: str, as_json: bool
) -> None:
    """Check installed class modules against modpm.lock and their digests.

    Every byte is read, in .modpm/ and in the store. Exits with 1, and names what is wrong, if
    anything is. With --repair, what is installed stays the same releases.
    """
    repaired: list[str] = []
    with download_bar() as progress:
        modules = verify(
            project,
            registry,
            repair=repair,
            offline=offline,
            on_problem=repaired.append,
            progress=progress,
        )
    for problem in repaired:
        say(f"! repaired: {problem}")
    if as_json:
        emit({"modules": [installed_data(module) for module in modules], "repaired": repaired})
        return
    say(f"all is intact: {counted(len(modules), 'module')}")
