"""Rules of the nodes that stay whole: what mixes all channels, and layers used twice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from modpm.core.graph.operators import OPERATORS
from modpm.core.slicing.channel_kinds import VARYING, Kinds, all_of
from modpm.core.slicing.cutter import UNUSED, Cutter, Piece

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from modpm.core.formats.network_graph import Node
    from modpm.core.slicing.rules import Flow, Rule


class Mixing:
    """Every channel from all channels."""

    def kinds(self, node: Node, flow: Flow) -> Kinds:
        """Return varying for all."""
        return all_of(VARYING, flow.shapes[node.name][0])

    def values(
        self, _node: Node, _flow: Flow, inputs: Sequence[Tensor], _tensors: Mapping[str, Tensor]
    ) -> Tensor:
        """Return any numbers: no channel is constant."""
        return inputs[0]

    def needs(self, node: Node, _wanted: Sequence[int], flow: Flow) -> list[list[int]]:
        """Return all channels."""
        return [list(range(flow.shapes[name][0])) for name in node.inputs]

    def cut(self, node: Node, _wanted: Sequence[int], flow: Flow, cutter: Cutter) -> Piece:
        """Add the whole node."""
        return _add_whole(node, flow, cutter)


@dataclass(frozen=True)
class Shared:
    """A node whose tensors another node has too: cut apart, they would be two.

    Attributes:
        rule: The operator's own rule.
    """

    rule: Rule

    def kinds(self, node: Node, flow: Flow) -> Kinds:
        """Return what the operator's rule says."""
        return self.rule.kinds(node, flow)

    def values(
        self, node: Node, flow: Flow, inputs: Sequence[Tensor], tensors: Mapping[str, Tensor]
    ) -> Tensor:
        """Return what the operator's rule says."""
        return self.rule.values(node, flow, inputs, tensors)

    def needs(self, node: Node, _wanted: Sequence[int], flow: Flow) -> list[list[int]]:
        """Return all channels."""
        return [list(range(flow.shapes[name][0])) for name in node.inputs]

    def cut(self, node: Node, _wanted: Sequence[int], flow: Flow, cutter: Cutter) -> Piece:
        """Add the whole node."""
        return _add_whole(node, flow, cutter)


def _add_whole(node: Node, flow: Flow, cutter: Cutter) -> Piece:
    sources = [cutter.conform(name, range(flow.shapes[name][0]), node.name) for name in node.inputs]
    shapes = OPERATORS[node.operator].tensor_shapes(node, flow.input_shapes(node))
    recipes = cutter.cuts(node, {role: (None,) * len(shapes[role]) for role in node.tensors})
    layout = [
        channel if kind == VARYING else UNUSED for channel, kind in enumerate(flow.kinds[node.name])
    ]
    return Piece(cutter.add(node, sources, recipes=recipes), tuple(layout))


MIXING = Mixing()
