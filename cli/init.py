"""`modpm init`."""

from __future__ import annotations

import click

from modpm.cli.options import json_option
from modpm.cli.output import emit, say
from modpm.registry.projects.editing import init


@click.command("init", epilog="Example: modpm init pets --registry hf://acme")
@click.argument("folder", default=".", metavar="[PATH]")
@click.option(
    "--registry",
    metavar="URL",
    multiple=True,
    help="A registry that the project uses. May be given several times, the first first.",
)
@click.option("--same-origin", is_flag=True, help="Choose modules of one origin together.")
@json_option
def command(folder: str, registry: tuple[str, ...], same_origin: bool, as_json: bool) -> None:
    """Make a folder a project: write a modpm.toml that asks for nothing yet."""
    path = init(folder, registry, same_origin=same_origin)
    if as_json:
        emit({"project": str(path.parent), "file": str(path)})
    else:
        say(f"{path} is there; `modpm install NAMESPACE/NAME` adds modules")
