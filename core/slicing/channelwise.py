"""Rules of the operators that make each channel of the same channel of their one input."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from modpm.core.formats.network_graph import Node
from modpm.core.graph.interpreter import make_layer
from modpm.core.slicing.channel_kinds import CONSTANT, VARYING, ZERO, Kinds
from modpm.core.slicing.cutter import Cutter, Piece
from modpm.core.slicing.recipes import whole
from modpm.core.slicing.rules import Flow, integers, number

Fate = Callable[[Node], int]
"""What kind a node makes of one kind of channel."""


def _zero(_node: Node) -> int:
    return ZERO


def constant(_node: Node) -> int:
    """Say that a channel is constant."""
    return CONSTANT


@dataclass(frozen=True)
class Channelwise:
    """Channel by channel, each pixel from one pixel or from many.

    Attributes:
        of_zero: What becomes of a channel of zeros.
        of_constant: What becomes of a constant channel.
    """

    of_zero: Fate = _zero
    of_constant: Fate = constant

    def kinds(self, node: Node, flow: Flow) -> Kinds:
        """Return the kinds of the output's channels."""
        fates = [self.of_zero(node), self.of_constant(node), VARYING]
        return np.array(fates, dtype=np.int8)[flow.kinds[node.inputs[0]]]

    def values(
        self, _node: Node, _flow: Flow, inputs: Sequence[Tensor], _tensors: Mapping[str, Tensor]
    ) -> Tensor:
        """Return the input's constants: a pool of a constant is that constant."""
        return inputs[0]

    def needs(self, _node: Node, wanted: Sequence[int], _flow: Flow) -> list[list[int]]:
        """Return the same channels."""
        return [list(wanted)]

    def cut(self, node: Node, wanted: Sequence[int], flow: Flow, cutter: Cutter) -> Piece:
        """Add the node on the wanted channels, with its tensors cut to them."""
        source = cutter.conform(node.inputs[0], wanted, node.name)
        kept = (whole(list(wanted), len(flow.kinds[node.inputs[0]])),)
        recipes = cutter.cuts(node, dict.fromkeys(node.tensors, kept))
        return Piece(cutter.add(node, [source], recipes=recipes), tuple(wanted))


@dataclass(frozen=True)
class Elementwise(Channelwise):
    """Channel by channel and pixel by pixel."""

    def values(
        self, node: Node, flow: Flow, inputs: Sequence[Tensor], tensors: Mapping[str, Tensor]
    ) -> Tensor:
        """Return what the node's own layer makes of the constants."""
        shape = flow.shapes[node.inputs[0]]
        layer = make_layer(node, [shape], tensors).eval()
        with torch.no_grad():
            result: Tensor = layer(inputs[0].view(1, -1, *[1] * (len(shape) - 1)))
        return result.view(-1)


def _clamped_zero(node: Node) -> int:
    low, high = number(node.attributes["minimum"]), number(node.attributes["maximum"])
    return ZERO if low <= 0 <= high else CONSTANT


def _shifted_zero(node: Node) -> int:
    return ZERO if number(node.attributes["value"]) == 0 else CONSTANT


def _biased_zero(node: Node) -> int:
    return CONSTANT if "bias" in node.tensors else ZERO


def _padded_zero(node: Node) -> int:
    is_padded = any(integers(node, "padding")) and number(node.attributes["value"]) != 0
    return VARYING if is_padded else ZERO


def _padded_constant(node: Node) -> int:
    return VARYING if any(integers(node, "padding")) else CONSTANT


def _averaged_constant(node: Node) -> int:
    """Say what an average makes of a constant: at an edge it counts zeros too, perhaps."""
    counts_zeros = bool(node.attributes["count_include_pad"])
    return VARYING if counts_zeros and any(integers(node, "padding")) else CONSTANT


KEEPS_ZERO = Elementwise()
MOVES_ZERO = Elementwise(of_zero=constant)
CLAMP = Elementwise(of_zero=_clamped_zero)
ADD_SCALAR = Elementwise(of_zero=_shifted_zero)
CHANNEL_AFFINE = Elementwise(of_zero=_biased_zero)
POOL = Channelwise()
AVERAGE_POOL = Channelwise(of_constant=_averaged_constant)
PAD = Channelwise(of_zero=_padded_zero, of_constant=_padded_constant)
