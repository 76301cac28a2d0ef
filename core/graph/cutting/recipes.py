"""How each tensor of a sliced network is made from the tensors of its origin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Mapping

    from modpm.core.formats.network_graph import Node

Kept = tuple[list[int] | None, ...]
"""Indices kept on each dimension of a tensor, None where the whole dimension is; `()` for all."""


@dataclass(frozen=True)
class Cut:
    """A sub-block of an origin's tensor.

    Attributes:
        name: The origin's tensor.
        kept: The indices kept on each dimension.
    """

    name: str
    kept: Kept

    def make(self, tensors: Mapping[str, Tensor], _values: Mapping[str, Tensor]) -> Tensor:
        """Return the sub-block."""
        block = tensors[self.name]
        for dimension, indices in enumerate(self.kept):
            if indices is not None:
                block = block.index_select(dimension, torch.tensor(indices, device=block.device))
        return block.detach().clone().contiguous()


@dataclass(frozen=True)
class Fill:
    """The values of a value's constant channels.

    Attributes:
        value: The origin's node, or its input.
        channels: The channels, in the order of the tensor.
    """

    value: str
    channels: list[int]

    def make(self, tensors: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> Tensor:
        """Return the values, of the origin's type of number."""
        origin = next(iter(tensors.values()), torch.empty(0))
        return values[self.value][self.channels].to(origin.device, origin.dtype)


@dataclass(frozen=True)
class Offset:
    """What the constant input channels that were cut add to each kernel or feature.

    Attributes:
        node: The origin's convolution or linear layer.
        kept: The kernels or features.
        cut: The input channels.
    """

    node: Node
    kept: list[int]
    cut: list[int]

    def make(self, tensors: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> Tensor:
        """Return the sum of weight times constant, and the origin's own offset."""
        weight = tensors[self.node.tensors["weight"]]
        inputs = torch.zeros_like(values[self.node.inputs[0]])
        inputs[self.cut] = values[self.node.inputs[0]][self.cut]
        offset = weighted_sum(self.node, weight.detach().cpu().double(), inputs)[self.kept]
        if "offset" in self.node.tensors:
            offset = offset + tensors[self.node.tensors["offset"]].detach().cpu()[self.kept]
        return offset.to(weight.device, weight.dtype)


Recipe = Cut | Fill | Offset


def weighted_sum(node: Node, weight: Tensor, inputs: Tensor) -> Tensor:
    """Return what a convolution or linear layer makes of constant channels, far from any edge.

    Shapes:
        weight: (K, C / groups, kH, kW) or (K, C)
        inputs: (C,) -> (K,)
    """
    if node.operator == "linear":
        return weight @ inputs
    groups = node.attributes["groups"]
    assert isinstance(groups, int)
    return F.conv2d(inputs.view(1, -1, 1, 1), weight.sum((2, 3), keepdim=True), groups=groups).view(
        -1
    )


def whole(indices: list[int], size: int) -> list[int] | None:
    """Return None for all indices of a dimension in order, and the indices otherwise."""
    return None if indices == list(range(size)) else indices
