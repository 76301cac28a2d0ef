"""Rules of the operators that join several values: sums, products and concatenations."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from modpm.core.slicing.channel_kinds import ZERO, Kinds
from modpm.core.slicing.cutter import UNUSED, Cutter, Piece

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from modpm.core.formats.network_graph import Node
    from modpm.core.slicing.rules import Flow


def _spread(kinds: Kinds, n_channels: int) -> Kinds:
    """Return the kinds of one channel as those of all, where it is broadcast."""
    return kinds if len(kinds) == n_channels else np.repeat(kinds, n_channels)


def _own_channels(channels: Sequence[int], kinds: Kinds, n_channels: int) -> list[int]:
    """Return the channels of an operand that channels of the output read."""
    is_broadcast = len(kinds) == 1 and n_channels > 1
    return [0] if is_broadcast else list(channels)


_OF_TWO: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "add": torch.add,
    "sub": torch.sub,
    "mul": torch.mul,
    "maximum": torch.maximum,
    "minimum": torch.minimum,
}


class Binary:
    """Two values, channel by channel, each broadcast where it has one channel or one pixel."""

    def kinds(self, node: Node, flow: Flow) -> Kinds:
        """Return varying where either varies, and zero where both are zero."""
        left, right = self._spread_inputs(node, flow)
        return np.maximum(left, right)

    def _spread_inputs(self, node: Node, flow: Flow) -> list[Kinds]:
        inputs = flow.inputs(node)
        n_channels = max(map(len, inputs))
        return [_spread(kinds, n_channels) for kinds in inputs]

    def values(
        self, node: Node, _flow: Flow, inputs: Sequence[Tensor], _tensors: Mapping[str, Tensor]
    ) -> Tensor:
        """Return what the operator makes of the constants."""
        return _OF_TWO[node.operator](*inputs)

    def needs(self, node: Node, wanted: Sequence[int], flow: Flow) -> list[list[int]]:
        """Return the same channels of both."""
        n_channels = len(self.kinds(node, flow))
        return [_own_channels(wanted, kinds, n_channels) for kinds in flow.inputs(node)]

    def cut(self, node: Node, wanted: Sequence[int], flow: Flow, cutter: Cutter) -> Piece:
        """Add the node on the wanted channels."""
        needs = self.needs(node, wanted, flow)
        sources = [
            self._operand(node, place, channels, flow, cutter)
            for place, channels in enumerate(needs)
        ]
        return Piece(cutter.add(node, sources), tuple(wanted))

    def _operand(
        self, node: Node, place: int, channels: list[int], flow: Flow, cutter: Cutter
    ) -> str:
        """Return one operand: one pixel is enough where it is constant and the other is whole."""
        value, other = node.inputs[place], node.inputs[1 - place]
        is_whole = flow.shapes[other][1:] == flow.shapes[node.name][1:]
        computed = set(cutter.pieces[value].layout) - {UNUSED}
        if is_whole and not computed & set(channels):
            space = (1,) * (len(flow.shapes[node.name]) - 1)
            return cutter.constant(value, channels, node.name, space=space)
        return cutter.conform(value, channels, node.name)


class Sum(Binary):
    """A sum or difference, which is its other operand where one is zero."""

    def cut(self, node: Node, wanted: Sequence[int], flow: Flow, cutter: Cutter) -> Piece:
        """Add the node, unless one of the operands can stand for it."""
        for place in (0, 1) if node.operator == "add" else (0,):
            other = node.inputs[1 - place]
            channels = self.needs(node, wanted, flow)[1 - place]
            is_zero = all(flow.kinds[other][channel] == ZERO for channel in channels)
            if is_zero and flow.shapes[node.inputs[place]] == flow.shapes[node.name]:
                return cutter.pieces[node.inputs[place]]
        return super().cut(node, wanted, flow, cutter)


class Product(Binary):
    """A product, which is zero where one of the operands is."""

    def kinds(self, node: Node, flow: Flow) -> Kinds:
        """Return zero where either is zero."""
        left, right = self._spread_inputs(node, flow)
        return np.where((left == ZERO) | (right == ZERO), ZERO, np.maximum(left, right))


@dataclass(frozen=True)
class Concatenation:
    """Values one after another along their channels."""

    def kinds(self, node: Node, flow: Flow) -> Kinds:
        """Return the kinds one after another."""
        return np.concatenate(flow.inputs(node))

    def values(
        self, _node: Node, _flow: Flow, inputs: Sequence[Tensor], _tensors: Mapping[str, Tensor]
    ) -> Tensor:
        """Return the constants one after another."""
        return torch.cat(list(inputs))

    def needs(self, node: Node, wanted: Sequence[int], flow: Flow) -> list[list[int]]:
        """Return for each value its own share of the channels."""
        sizes = [len(kinds) for kinds in flow.inputs(node)]
        starts = [0, *accumulate(sizes)]
        return [
            [channel - start for channel in wanted if start <= channel < start + size]
            for start, size in zip(starts, sizes, strict=False)
        ]

    def cut(self, node: Node, wanted: Sequence[int], flow: Flow, cutter: Cutter) -> Piece:
        """Add the concatenation of what is left of each value, or the only one that is left."""
        needs = self.needs(node, wanted, flow)
        left = [(value, own) for value, own in zip(node.inputs, needs, strict=True) if own]
        sources = [cutter.conform(value, own, node.name) for value, own in left]
        if len(sources) == 1:
            return Piece(sources[0], tuple(wanted))
        return Piece(cutter.add(node, sources), tuple(wanted))


BINARY = Binary()
SUM = Sum()
PRODUCT = Product()
CONCATENATION = Concatenation()
