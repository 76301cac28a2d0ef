"""Rules of the operators that move channels without computing anything."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from modpm.core.slicing.channel_kinds import CONSTANT, VARYING, ZERO, Kinds, all_of
from modpm.core.slicing.cutter import UNUSED, Cutter, Piece
from modpm.core.slicing.rules import Flow, integer, integers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from modpm.core.formats.network_graph import Node


class Flatten:
    """Each channel's pixels one after another."""

    def _area(self, node: Node, flow: Flow) -> int:
        return math.prod(flow.shapes[node.inputs[0]][1:])

    def kinds(self, node: Node, flow: Flow) -> Kinds:
        """Return each channel's kind for each of its pixels."""
        return np.repeat(flow.kinds[node.inputs[0]], self._area(node, flow))

    def values(
        self, node: Node, flow: Flow, inputs: Sequence[Tensor], _tensors: Mapping[str, Tensor]
    ) -> Tensor:
        """Return each channel's constant for each of its pixels."""
        return inputs[0].repeat_interleave(self._area(node, flow))

    def needs(self, node: Node, wanted: Sequence[int], flow: Flow) -> list[list[int]]:
        """Return the channels of the wanted pixels."""
        area = self._area(node, flow)
        return [sorted({feature // area for feature in wanted})]

    def cut(self, node: Node, wanted: Sequence[int], flow: Flow, cutter: Cutter) -> Piece:
        """Add the node on the whole channels of the wanted pixels."""
        area, (channels,) = self._area(node, flow), self.needs(node, wanted, flow)
        source = cutter.conform(node.inputs[0], channels, node.name)
        layout = [channel * area + pixel for channel in channels for pixel in range(area)]
        return Piece(cutter.add(node, [source]), tuple(layout))


class Unflatten:
    """Features as the pixels of channels."""

    def _shape(self, node: Node) -> tuple[int, int]:
        channels, height, width = integers(node, "shape")
        return channels, height * width

    def kinds(self, node: Node, flow: Flow) -> Kinds:
        """Return the kind of a channel whose pixels are alike."""
        channels, area = self._shape(node)
        pixels = flow.kinds[node.inputs[0]].reshape(channels, area)
        largest = pixels.max(1)
        return largest if area == 1 else np.where(largest == CONSTANT, VARYING, largest)

    def values(
        self, node: Node, _flow: Flow, inputs: Sequence[Tensor], _tensors: Mapping[str, Tensor]
    ) -> Tensor:
        """Return each channel's constant: that of its first pixel."""
        return inputs[0].view(self._shape(node))[:, 0]

    def needs(self, node: Node, wanted: Sequence[int], _flow: Flow) -> list[list[int]]:
        """Return all features of the wanted channels."""
        _, area = self._shape(node)
        return [[channel * area + pixel for channel in wanted for pixel in range(area)]]

    def cut(self, node: Node, wanted: Sequence[int], flow: Flow, cutter: Cutter) -> Piece:
        """Add the node with as many channels as are wanted."""
        source = cutter.conform(node.inputs[0], self.needs(node, wanted, flow)[0], node.name)
        shape = [len(wanted), *integers(node, "shape")[1:]]
        return Piece(cutter.add(node, [source], {"shape": shape}), tuple(wanted))


class Select:
    """Some channels, in a given order."""

    def kinds(self, node: Node, flow: Flow) -> Kinds:
        """Return the kinds of the selected channels."""
        return flow.kinds[node.inputs[0]][integers(node, "indices")]

    def values(
        self, node: Node, _flow: Flow, inputs: Sequence[Tensor], _tensors: Mapping[str, Tensor]
    ) -> Tensor:
        """Return the constants of the selected channels."""
        return inputs[0][integers(node, "indices")]

    def needs(self, node: Node, wanted: Sequence[int], _flow: Flow) -> list[list[int]]:
        """Return the channels that the wanted ones are."""
        indices = integers(node, "indices")
        return [[indices[channel] for channel in wanted]]

    def cut(self, node: Node, wanted: Sequence[int], flow: Flow, cutter: Cutter) -> Piece:
        """Select from what is left of the input, unless that is it already."""
        (channels,) = self.needs(node, wanted, flow)
        source = cutter.conform(node.inputs[0], channels, node.name, name=node.name)
        return Piece(source, tuple(wanted))


class Scatter:
    """Channels in their places among constant ones, which are as good as not there."""

    def kinds(self, node: Node, flow: Flow) -> Kinds:
        """Return the input's kinds in their places, and constants elsewhere."""
        filled = CONSTANT if "fill" in node.tensors else ZERO
        kinds = all_of(filled, integer(node, "n_channels"))
        kinds[integers(node, "indices")] = flow.kinds[node.inputs[0]]
        return kinds

    def values(
        self, node: Node, _flow: Flow, inputs: Sequence[Tensor], tensors: Mapping[str, Tensor]
    ) -> Tensor:
        """Return the input's constants in their places, and the filled ones."""
        zeros = torch.zeros(integer(node, "n_channels"), dtype=inputs[0].dtype)
        values = tensors["fill"].clone() if "fill" in tensors else zeros
        values[integers(node, "indices")] = inputs[0]
        return values

    def needs(self, node: Node, wanted: Sequence[int], _flow: Flow) -> list[list[int]]:
        """Return the input's channels among the wanted ones."""
        inverse = {channel: place for place, channel in enumerate(integers(node, "indices"))}
        return [[inverse[channel] for channel in wanted if channel in inverse]]

    def cut(self, node: Node, _wanted: Sequence[int], _flow: Flow, cutter: Cutter) -> Piece:
        """Add nothing: the next node that needs the constants has them filled in."""
        indices, piece = integers(node, "indices"), cutter.pieces[node.inputs[0]]
        layout = [UNUSED if place == UNUSED else indices[place] for place in piece.layout]
        return Piece(piece.node, tuple(layout))


class Identity:
    """The input itself."""

    def kinds(self, node: Node, flow: Flow) -> Kinds:
        """Return the input's kinds."""
        return flow.kinds[node.inputs[0]]

    def values(
        self, _node: Node, _flow: Flow, inputs: Sequence[Tensor], _tensors: Mapping[str, Tensor]
    ) -> Tensor:
        """Return the input's constants."""
        return inputs[0]

    def needs(self, _node: Node, wanted: Sequence[int], _flow: Flow) -> list[list[int]]:
        """Return the same channels."""
        return [list(wanted)]

    def cut(self, node: Node, _wanted: Sequence[int], _flow: Flow, cutter: Cutter) -> Piece:
        """Add nothing."""
        return cutter.pieces[node.inputs[0]]


class Constants:
    """Channels that are constant from the start."""

    def kinds(self, node: Node, flow: Flow) -> Kinds:
        """Return constant, or zero."""
        filled = CONSTANT if "fill" in node.tensors else ZERO
        return all_of(filled, flow.shapes[node.name][0])

    def values(
        self, node: Node, flow: Flow, inputs: Sequence[Tensor], tensors: Mapping[str, Tensor]
    ) -> Tensor:
        """Return the constants."""
        zeros = torch.zeros(flow.shapes[node.name][0], dtype=inputs[0].dtype)
        return tensors.get("fill", zeros)

    def needs(self, _node: Node, _wanted: Sequence[int], _flow: Flow) -> list[list[int]]:
        """Return nothing: it reads the image only for the number of images."""
        return [[]]

    def cut(self, _node: Node, _wanted: Sequence[int], _flow: Flow, _cutter: Cutter) -> Piece:
        """Return nothing: whoever needs the constants has them filled in."""
        return Piece()


FLATTEN = Flatten()
UNFLATTEN = Unflatten()
SELECT = Select()
SCATTER = Scatter()
IDENTITY = Identity()
CONSTANTS = Constants()
