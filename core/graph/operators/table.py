"""All operators of a network graph by name (`specs/graph.md`), and what torch's calls become."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modpm.core.graph.operators import (
    activation,
    arithmetic,
    convolution,
    normalization,
    pooling,
    reshaping,
    rounding,
)

if TYPE_CHECKING:
    from modpm.core.graph.operators.definition import Operator
    from modpm.core.graph.translation import Handler

_FAMILIES = (convolution, normalization, activation, arithmetic, pooling, reshaping, rounding)

OPERATORS: dict[str, Operator] = {
    name: operator for family in _FAMILIES for name, operator in family.OPERATORS.items()
}
"""Every operator that a graph may name; a distribution of a stranger may name no other."""

ATEN: dict[str, Handler] = {
    name: handler for family in _FAMILIES for name, handler in family.ATEN.items()
}
"""How each of torch's own operators is read, by its name in `native_functions.yaml`."""


def calls() -> dict[str, tuple[str, ...]]:
    """Return the calls of torch that are read, of each kind: their names without `aten.`.

    Those that begin with an underscore are what torch makes of others while it traces.
    """
    return {
        family.__name__.rpartition(".")[2]: tuple(
            name for name in sorted(family.ATEN) if not name.startswith("_")
        )
        for family in _FAMILIES
    }
