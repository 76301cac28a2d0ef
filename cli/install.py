"""`modpm install`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from modpm.cli.module_table import module_data, print_modules
from modpm.cli.output import emit, say
from modpm.registry.installation import install

if TYPE_CHECKING:
    from modpm.registry.changes import Change


@click.command(
    "install",
    epilog='Example: modpm install cifar10/cat "cifar10/dog>=1.2,<2" "mnist/*"',
)
@click.argument("requirements", nargs=-1, metavar="[REQ]...")
@click.option(
    "--registry",
    metavar="PATH",
    help="A registry to look in first; it is added to modpm.toml. By default those of modpm.toml, "
    "or else $MODPM_REGISTRY, or else $MODPM_HOME/registry.",
)
@click.option(
    "--project",
    metavar="PATH",
    default=".",
    show_default="the current folder",
    help="A folder in the project.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the installed modules as JSON.")
def command(
    requirements: tuple[str, ...], registry: str | None, project: str, as_json: bool
) -> None:
    """Install class modules into this project.

    REQ is a module (cifar10/cat), perhaps with versions (cifar10/cat>=1.2,<2) or a tag
    (cifar10/cat@stable), or a whole namespace (cifar10/*). The newest releases that fit are
    verified, installed into .modpm/, pinned in modpm.lock, and asked for in modpm.toml.
    Modules that are pinned already stay as they are. Without REQ, installs what modpm.toml and
    modpm.lock say.
    """
    installation = install(requirements, project, registry)
    for change in installation.changes:
        say(_in_words(change))
    if not installation.changes:
        say("everything is installed already")
    if as_json:
        emit({"modules": [module_data(module) for module in installation.modules]})
    else:
        print_modules(installation.modules)


def _in_words(change: Change) -> str:
    if change.before is None:
        return f"+ {change.name} {change.after}"
    if change.after is None:
        return f"- {change.name} {change.before}"
    return f"~ {change.name} {change.before} -> {change.after}"
