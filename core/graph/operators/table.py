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
