"""`modpm why`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from modpm.cli.options import json_option, project_option
from modpm.cli.output import emit, show
from modpm.registry.projects.requirement_tree import requirements_of, why

if TYPE_CHECKING:
    from modpm.registry.projects.requirement_graph import Edge, RequirementGraph


@click.command("why", epilog="Example: modpm why cifar10/cat")
@click.argument("name")
@project_option
@json_option
def command(name: str, project: str, as_json: bool) -> None:
    """Show why a module is there: who requires it, and who requires them.

    For everyone who requires it, one line with the shortest way from modpm.toml.
    """
    graph = requirements_of(project)
    chains = why(name, graph, project)
    if as_json:
        emit({"chains": [[_step_data(step) for step in chain] for chain in chains]})
        return
    for chain in chains:
        show(" -> ".join(["modpm.toml", *(_in_words(step, graph) for step in chain)]))


def _in_words(step: Edge, graph: RequirementGraph) -> str:
    return f"{step.module} {graph.pins[step.module].version} (as {step.requirement})"


def _step_data(step: Edge) -> dict[str, str | None]:
    return {
        "by": None if step.by is None else str(step.by),
        "requirement": step.requirement,
        "name": str(step.module),
    }
