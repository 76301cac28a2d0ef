"""`modpm tree`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from modpm.cli.completion import installed_names
from modpm.cli.options import json_option, project_option
from modpm.cli.output import emit, say, show
from modpm.registry.projects.requirement_graph import tree

if TYPE_CHECKING:
    from modpm.core.formats.names import ModuleName
    from modpm.registry.projects.requirement_graph import Branch, Edge, RequirementGraph


@click.command("tree", epilog="Example: modpm tree; modpm tree cifar10/cat --invert")
@click.argument("names", shell_complete=installed_names, nargs=-1, metavar="[NAME]...")
@click.option(
    "--invert", is_flag=True, help="Show below each module who requires it, not what it requires."
)
@click.option(
    "--depth", type=click.IntRange(min=0), metavar="N", help="Levels to show below the first."
)
@project_option
@json_option
def command(
    *, names: tuple[str, ...], invert: bool, depth: int | None, project: str, as_json: bool
) -> None:
    """Show which module requires which, as modpm.lock has them.

    Begins at what modpm.toml asks for, or at each NAME. `modpm tree NAME --invert` shows why a
    module is there: who requires it, and who requires them.
    """
    graph, branches = tree(names, project, invert=invert, depth=depth)
    if as_json:
        emit({"modules": _data(graph, {branch.module for branch in branches})})
        return
    for branch in branches:
        show(_line(branch))
    if any(branch.is_repeated for branch in branches):
        say("(*) what hangs on it is shown further up")
    if not branches:
        say("no modules are locked here")


def _line(branch: Branch) -> str:
    *above, last = (None, *branch.lasts)
    stems = "".join("    " if is_last else "│   " for is_last in above[1:])
    joint = "" if last is None else "└── " if last else "├── "
    name = "modpm.toml" if branch.module is None else f"{branch.module} {branch.version}"
    words = "" if branch.requirement is None else f" (as {branch.requirement})"
    return f"{stems}{joint}{name}{words}{' (*)' if branch.is_repeated else ''}"


def _data(graph: RequirementGraph, drawn: set[ModuleName | None]) -> list[dict[str, object]]:
    return [
        {
            "name": str(module),
            "version": pin.version,
            "asked": [e.requirement for e in graph.required_by[module] if e.by is None],
            "requires": [_edge_data(e.module, e) for e in graph.requires[module]],
            "required_by": [_edge_data(e.by, e) for e in graph.required_by[module] if e.by],
        }
        for module, pin in graph.pins.items()
        if module in drawn
    ]


def _edge_data(name: ModuleName, edge: Edge) -> dict[str, str]:
    return {"name": str(name), "requirement": edge.requirement}
