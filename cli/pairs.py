"""Options of two parts, `LEFT=RIGHT`, that may be given again."""

from __future__ import annotations

import click


def pairs(
    _ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> dict[str, str]:
    """Read the values of such an option; a callback for click.

    Raises:
        click.BadParameter: A value has not two parts, or a left part is given twice.
    """
    found: dict[str, str] = {}
    for value in values:
        # A class may have `=` in its name, a module and its label have none.
        left, _, right = value.partition("=")
        if not (left and right):
            raise click.BadParameter(f"`{value}` is not of the form {parameter.metavar}")
        if left in found:
            raise click.BadParameter(f"`{left}` is given twice")
        found[left] = right
    return found


map_option = click.option(
    "--map",
    "mapping",
    multiple=True,
    metavar="LABEL=CLASS",
    callback=pairs,
    help="The class of DATA that a label meets, where their names differ; may be given again.",
)
