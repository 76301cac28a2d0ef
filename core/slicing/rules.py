"""What a rule must say of an operator, for a network of it to be sliced."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from modpm.core.formats.network_graph import AttributeValue, Node
    from modpm.core.graph.operators import Shape
    from modpm.core.slicing.channel_kinds import Kinds
    from modpm.core.slicing.cutter import Cutter, Piece


@dataclass(frozen=True)
class Flow:
    """What is known of an origin's values when a rule is asked.

    Attributes:
        shapes: The shape of each value, for one image.
        kinds: The kind of each channel of each value so far.
    """

    shapes: Mapping[str, Shape]
    kinds: Mapping[str, Kinds]

    def inputs(self, node: Node) -> list[Kinds]:
        """Return the kinds of a node's inputs."""
        return [self.kinds[name] for name in node.inputs]

    def input_shapes(self, node: Node) -> list[Shape]:
        """Return the shapes of a node's inputs."""
        return [self.shapes[name] for name in node.inputs]


class Rule(Protocol):
    """How channels flow through one operator."""

    def kinds(self, node: Node, flow: Flow) -> Kinds:
        """Return the kinds of the output's channels."""

    def values(
        self, node: Node, flow: Flow, inputs: Sequence[Tensor], tensors: Mapping[str, Tensor]
    ) -> Tensor:
        """Return the values of the output's constant channels; of the others, any number.

        Args:
            node: The node.
            flow: Kinds and shapes of its inputs.
            inputs: For each input its constants, zero for channels that vary.
            tensors: The node's tensors by role, in double precision.

        Shapes:
            inputs: (C,) each -> (C_out,)
        """

    def needs(self, node: Node, wanted: Sequence[int], flow: Flow) -> list[list[int]]:
        """Return for each input the channels from which the wanted ones are computed.

        Args:
            node: The node.
            wanted: Channels of its output, ascending, that vary and that another node reads.
            flow: Kinds and shapes.
        """

    def cut(self, node: Node, wanted: Sequence[int], flow: Flow, cutter: Cutter) -> Piece:
        """Add what is left of the node to the sliced network."""


def integer(node: Node, name: str) -> int:
    """Return an integer attribute."""
    value = node.attributes[name]
    assert isinstance(value, int)
    return value


def integers(node: Node, name: str) -> list[int]:
    """Return a list attribute."""
    value = node.attributes[name]
    assert isinstance(value, list)
    return value


def number(value: AttributeValue) -> float:
    """Return an attribute that is a number."""
    assert isinstance(value, int | float)
    return float(value)
