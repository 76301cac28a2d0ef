"""What a rule must say of an operator, for a network of it to be cut, and the common rules."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from modpm.core.formats.network_graph import Node
from modpm.core.graph.cutting.cutter import UNUSED, Cutter, Piece
from modpm.core.graph.cutting.kinds import CONSTANT, VARYING, ZERO, Kinds, all_of
from modpm.core.graph.cutting.recipes import whole

if TYPE_CHECKING:
    from torch import Tensor, nn

    from modpm.core.graph.operators.definition import Shape


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


class Rule:
    """How channels flow through one operator; by itself, each from the same one of one input."""

    def kinds(self, node: Node, flow: Flow) -> Kinds:
        """Return the kinds of the output's channels."""
        raise NotImplementedError

    def values(self, node: Node, flow: Flow, inputs: Sequence[Tensor], layer: nn.Module) -> Tensor:
        """Return the values of the output's constant channels; of the others, any number.

        Args:
            node: The node.
            flow: Kinds and shapes of its inputs.
            inputs: For each input its constants, zero for channels that vary.
            layer: What computes the node, in double precision.

        Shapes:
            inputs: (C,) each -> (C_out,)
        """
        ranks = [len(shape) for shape in flow.input_shapes(node)]
        pixels = [x.view(1, -1, *[1] * (n - 1)) for x, n in zip(inputs, ranks, strict=True)]
        result: Tensor = layer(*pixels)[0]
        return result.flatten(1)[:, 0] if result.dim() > 1 else result

    def needs(self, _node: Node, wanted: Sequence[int], _flow: Flow) -> list[list[int]]:
        """Return for each input the channels from which the wanted ones are computed.

        Args:
            node: The node.
            wanted: Channels of its output, ascending, that vary and that another node reads.
            flow: Kinds and shapes.
        """
        return [list(wanted)]

    def cut(self, node: Node, wanted: Sequence[int], flow: Flow, cutter: Cutter) -> Piece:
        """Add what is left of the node to the sliced network, with its tensors cut as it is."""
        source = cutter.conform(node.inputs[0], wanted, node.name)
        kept = (whole(list(wanted), len(flow.kinds[node.inputs[0]])),)
        recipes = cutter.cuts(node, dict.fromkeys(node.tensors, kept))
        return Piece(cutter.add(node, [source], recipes=recipes), tuple(wanted))


Fate = Callable[[Node], int]
"""What kind a node makes of one kind of channel."""


def zero(_node: Node) -> int:
    """Say that a channel is zero."""
    return ZERO


def constant(_node: Node) -> int:
    """Say that a channel is constant."""
    return CONSTANT


@dataclass(frozen=True)
class Channelwise(Rule):
    """Channel by channel and pixel by pixel.

    Attributes:
        of_zero: What becomes of a channel of zeros.
        of_constant: What becomes of a constant channel.
    """

    of_zero: Fate = zero
    of_constant: Fate = constant

    def kinds(self, node: Node, flow: Flow) -> Kinds:
        """Return the kinds of the output's channels."""
        fates = [self.of_zero(node), self.of_constant(node), VARYING]
        return np.array(fates, dtype=np.int8)[flow.kinds[node.inputs[0]]]


class Pooling(Channelwise):
    """Channel by channel, each pixel from many."""

    def values(
        self, _node: Node, _flow: Flow, inputs: Sequence[Tensor], _layer: nn.Module
    ) -> Tensor:
        """Return the input's constants: a pool of a constant is that constant."""
        return inputs[0]


class Mixing(Rule):
    """Every channel from all channels."""

    def kinds(self, node: Node, flow: Flow) -> Kinds:
        """Return varying for all."""
        return all_of(VARYING, flow.shapes[node.name][0])

    def needs(self, node: Node, _wanted: Sequence[int], flow: Flow) -> list[list[int]]:
        """Return all channels."""
        return [list(range(shape[0])) for shape in flow.input_shapes(node)]

    def cut(self, node: Node, wanted: Sequence[int], flow: Flow, cutter: Cutter) -> Piece:
        """Add the whole node."""
        needs = self.needs(node, wanted, flow)
        sources = [cutter.conform(*own, node.name) for own in zip(node.inputs, needs, strict=True)]
        recipes = cutter.cuts(node, dict.fromkeys(node.tensors, ()))
        kinds = enumerate(flow.kinds[node.name])
        layout = tuple(channel if kind == VARYING else UNUSED for channel, kind in kinds)
        return Piece(cutter.add(node, sources, recipes=recipes), layout)


@dataclass(frozen=True)
class Shared(Mixing):
    """A node whose tensors another node has too: cut apart, they would be two.

    Attributes:
        rule: The operator's own rule.
    """

    rule: Rule

    def kinds(self, node: Node, flow: Flow) -> Kinds:
        """Return what the operator's rule says."""
        return self.rule.kinds(node, flow)

    def values(self, node: Node, flow: Flow, inputs: Sequence[Tensor], layer: nn.Module) -> Tensor:
        """Return what the operator's rule says."""
        return self.rule.values(node, flow, inputs, layer)
