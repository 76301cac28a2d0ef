"""`modpm registry`."""

from __future__ import annotations

import click

from modpm.cli.groups import Group
from modpm.cli.options import allow_http_option, target_registry_option
from modpm.cli.output import counted, emit, say, warn_of
from modpm.registry.publication.changing import reindex


@click.group(
    "registry", cls=Group, epilog="Example: modpm registry reindex --registry /srv/modules"
)
def command() -> None:
    """Look after a registry."""


@command.command("reindex", epilog="Example: modpm registry reindex --registry s3://acme/modules")
@target_registry_option
@allow_http_option
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def make_anew(registry: str | None, as_json: bool) -> None:
    """Make anew what search and completion know of a registry.

    Publishing and yanking keep it current. This mends what a crash, or a change by hand, has left
    behind.
    """
    read = reindex(registry)
    problems = [shard.problem for shard in read if shard.problem is not None]
    for problem in problems:
        warn_of(problem)
    if as_json:
        emit({"n_modules": len(read), "n_unreadable": len(problems)})
    else:
        say(f"the catalogue has {counted(len(read), 'module')}")
