"""What an operator is: its attributes, tensors, shapes, arithmetic, layer and cut."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from modpm.core.formats.network_graph import Node
    from modpm.core.graph.attributes import Attribute
    from modpm.core.graph.cutting.rules import Rule

Shape = tuple[int, ...]
"""Of the value for one image: (C, H, W) or (F,)."""


Shapes = Sequence[Shape]


IMAGE_RANK, VECTOR_RANK = 3, 1  # channels, height, width; features


class ShapeError(ValueError):
    """An operator does not fit the shapes of its inputs; says why."""


@dataclass(frozen=True)
class Operator:
    """What one operator name means.

    Attributes:
        layer: Makes the `nn.Module` that computes the node, with tensors of the meta device.
        output_shape: Shape of one image's value; raises `ShapeError` where the inputs do not fit.
        n_inputs: How many values it reads, or None for one or more.
        attributes: Every attribute, each of which a node must have.
        required: Roles of tensors that a node must have.
        optional: Roles of tensors that a node may have.
        tensor_shapes: Shape of the tensor of each role that the operator knows.
        macs: Multiply-accumulates for one image, from the node, its inputs and its output.
        cut: How channels flow through it, and what is left of a node when some are cut.
    """

    layer: Callable[[Node, Shapes], nn.Module]
    output_shape: Callable[[Node, Shapes], Shape]
    cut: Rule
    n_inputs: int | None = 1
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    tensor_shapes: Callable[[Node, Shapes], dict[str, Shape]] = lambda _node, _shapes: {}
    macs: Callable[[Node, Shapes, Shape], int] = lambda _node, _shapes, _output: 0


def layer_name(node: Node) -> str:
    """Return the path of the layer that computes a node: what its tensors' names begin with."""
    for role, name in node.tensors.items():
        return name.removesuffix(f".{role}")
    return node.name


def int_of(node: Node, name: str) -> int:
    """Return an attribute that is an integer."""
    value = node.attributes[name]
    assert isinstance(value, int)
    return value


def float_of(node: Node, name: str) -> float:
    """Return an attribute that is a number."""
    value = node.attributes[name]
    assert isinstance(value, int | float)
    return float(value)


def ints_of(node: Node, name: str) -> list[int]:
    """Return an attribute that is a list."""
    value = node.attributes[name]
    assert isinstance(value, list)
    return value


def pair_of(node: Node, name: str) -> tuple[int, int]:
    """Return an attribute for height and width."""
    first, second = ints_of(node, name)
    return first, second


def flag_of(node: Node, name: str) -> bool:
    """Return an attribute that is true or false."""
    return bool(node.attributes[name])


def image_shape(shapes: Shapes) -> tuple[int, int, int]:
    """Return the shape of the one input, which must be an image."""
    if len(shapes[0]) != 3:  # noqa: PLR2004 - channels, height, width
        raise ShapeError(f"it needs an input of shape (C, H, W), not {shapes[0]}")
    channels, height, width = shapes[0]
    return channels, height, width


def vector_size(shapes: Shapes) -> int:
    """Return the number of features of the one input, which must be a vector."""
    if len(shapes[0]) != 1:
        raise ShapeError(f"it needs an input of shape (F,), not {shapes[0]}")
    return shapes[0][0]


def same_shape(_node: Node, shapes: Shapes) -> Shape:
    """Return the shape of the one input."""
    return shapes[0]


def same_vector(_node: Node, shapes: Shapes) -> Shape:
    """Return the shape of the one input, which must be a vector."""
    return (vector_size(shapes),)


def window(size: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    """Return what a window makes of so many pixels (G-9)."""
    reach = dilation * (kernel - 1) + 1
    if size + 2 * padding < reach:
        raise ShapeError(f"a window of {reach} does not fit in {size} pixels padded by {padding}")
    return (size + 2 * padding - reach) // stride + 1


def per_channel(*roles: str) -> Callable[[Node, Shapes], dict[str, Shape]]:
    """Return the shapes of tensors of one number for each channel."""
    return lambda _node, shapes: dict.fromkeys(roles, (shapes[0][0],))


class Affine(nn.Module):
    """A layer that may have a weight and a bias for each channel."""

    weight: nn.Parameter | None
    bias: nn.Parameter | None

    def __init__(self, n_channels: int, roles: Collection[str]) -> None:
        super().__init__()
        for role in ("weight", "bias"):
            parameter = nn.Parameter(meta_buffer(n_channels)) if role in roles else None
            self.register_parameter(role, parameter)


def meta_buffer(size: int) -> Tensor:
    """Return a buffer that a tensor will stand for."""
    return torch.empty(size, device="meta")


def is_recorded() -> bool:
    """Whether torch records a program, which must have only its own operators."""
    return torch.compiler.is_compiling() or torch._C._is_tracing()  # noqa: SLF001 - torch.jit's, untyped


def with_tensors(layer: nn.Module, tensors: Mapping[str, Tensor]) -> nn.Module:
    """Return a layer with tensors in their roles, in the place of those of the meta device."""
    for role, tensor in tensors.items():
        if role in layer._buffers:  # noqa: SLF001 - torch has no other way to tell the two apart
            layer.register_buffer(role, tensor)
        else:
            layer.register_parameter(role, nn.Parameter(tensor))
    return layer
