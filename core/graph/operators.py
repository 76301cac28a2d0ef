"""The operators of a network graph: attributes, tensors, shapes, arithmetic and layers.

Source: `specs/graph.md`; a clause is cited as G-n.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from torch import nn

from modpm.core.graph import layers
from modpm.core.graph.attributes import (
    FRACTION,
    NATURAL_PAIR,
    NUMBER,
    PAIR,
    POSITIVE,
    Attribute,
    choice,
    flag,
    integers,
    real,
)

if TYPE_CHECKING:
    from modpm.core.formats.network_graph import Node

Shape = tuple[int, ...]
"""Of the value for one image: (C, H, W) or (F,)."""

Shapes = Sequence[Shape]


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
    """

    layer: Callable[[Node, Shapes], nn.Module]
    output_shape: Callable[[Node, Shapes], Shape]
    n_inputs: int | None = 1
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    tensor_shapes: Callable[[Node, Shapes], dict[str, Shape]] = lambda _node, _shapes: {}
    macs: Callable[[Node, Shapes, Shape], int] = lambda _node, _shapes, _output: 0


def _int(node: Node, name: str) -> int:
    value = node.attributes[name]
    assert isinstance(value, int)
    return value


def _float(node: Node, name: str) -> float:
    value = node.attributes[name]
    assert isinstance(value, int | float)
    return float(value)


def _ints(node: Node, name: str) -> list[int]:
    value = node.attributes[name]
    assert isinstance(value, list)
    return value


def _pair(node: Node, name: str) -> tuple[int, int]:
    first, second = _ints(node, name)
    return first, second


def _flag(node: Node, name: str) -> bool:
    return bool(node.attributes[name])


def _image(shapes: Shapes) -> tuple[int, int, int]:
    if len(shapes[0]) != 3:  # noqa: PLR2004 - channels, height, width
        raise ShapeError(f"it needs an input of shape (C, H, W), not {shapes[0]}")
    channels, height, width = shapes[0]
    return channels, height, width


def _vector(shapes: Shapes) -> int:
    if len(shapes[0]) != 1:
        raise ShapeError(f"it needs an input of shape (F,), not {shapes[0]}")
    return shapes[0][0]


def _same(_node: Node, shapes: Shapes) -> Shape:
    return shapes[0]


def _same_vector(_node: Node, shapes: Shapes) -> Shape:
    return (_vector(shapes),)


# --- convolution, linear, batch normalisation -------------------------------------------------


def _window(size: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    reach = dilation * (kernel - 1) + 1
    if size + 2 * padding < reach:
        raise ShapeError(f"a window of {reach} does not fit in {size} pixels padded by {padding}")
    return (size + 2 * padding - reach) // stride + 1


def _windows(node: Node, shapes: Shapes) -> tuple[int, int]:
    _, height, width = _image(shapes)
    terms = [_pair(node, name) for name in ("kernel_size", "stride", "padding", "dilation")]
    tall, wide = zip(*terms, strict=True)
    return _window(height, *tall), _window(width, *wide)


def _conv_shape(node: Node, shapes: Shapes) -> Shape:
    channels, n_kernels, groups = _image(shapes)[0], _int(node, "n_kernels"), _int(node, "groups")
    if channels % groups or n_kernels % groups:
        raise ShapeError(
            f"{groups} groups divide not both {channels} channels, {n_kernels} kernels"
        )
    return (n_kernels, *_windows(node, shapes))


def _conv_tensor_shapes(node: Node, shapes: Shapes) -> dict[str, Shape]:
    n_kernels, channels = _int(node, "n_kernels"), shapes[0][0]
    weight = (n_kernels, channels // _int(node, "groups"), *_pair(node, "kernel_size"))
    return {"weight": weight, "bias": (n_kernels,), "offset": (n_kernels,)}


def _conv_macs(node: Node, shapes: Shapes, output: Shape) -> int:
    return math.prod(_conv_tensor_shapes(node, shapes)["weight"]) * math.prod(output[1:])


def _conv_layer(node: Node, shapes: Shapes) -> nn.Module:
    make = layers.OffsetConv2d if "offset" in node.tensors else nn.Conv2d
    return make(
        shapes[0][0],
        _int(node, "n_kernels"),
        _pair(node, "kernel_size"),
        stride=_pair(node, "stride"),
        padding=_pair(node, "padding"),
        dilation=_pair(node, "dilation"),
        groups=_int(node, "groups"),
        bias="bias" in node.tensors,
        device="meta",
    )


CONV2D = Operator(
    layer=_conv_layer,
    output_shape=_conv_shape,
    attributes={
        "n_kernels": POSITIVE,
        "kernel_size": PAIR,
        "stride": PAIR,
        "padding": NATURAL_PAIR,
        "dilation": PAIR,
        "groups": POSITIVE,
    },
    required=("weight",),
    optional=("bias", "offset"),
    tensor_shapes=_conv_tensor_shapes,
    macs=_conv_macs,
)


def _linear_tensor_shapes(node: Node, shapes: Shapes) -> dict[str, Shape]:
    n_features = _int(node, "n_features")
    return {
        "weight": (n_features, _vector(shapes)),
        "bias": (n_features,),
        "offset": (n_features,),
    }


def _linear_shape(node: Node, shapes: Shapes) -> Shape:
    _vector(shapes)
    return (_int(node, "n_features"),)


def _linear_layer(node: Node, shapes: Shapes) -> nn.Module:
    make = layers.OffsetLinear if "offset" in node.tensors else nn.Linear
    has_bias = "bias" in node.tensors
    return make(_vector(shapes), _int(node, "n_features"), bias=has_bias, device="meta")


LINEAR = Operator(
    layer=_linear_layer,
    output_shape=_linear_shape,
    attributes={"n_features": POSITIVE},
    required=("weight",),
    optional=("bias", "offset"),
    tensor_shapes=_linear_tensor_shapes,
    macs=lambda node, shapes, _output: _int(node, "n_features") * _vector(shapes),
)


def _per_channel(*roles: str) -> Callable[[Node, Shapes], dict[str, Shape]]:
    return lambda _node, shapes: dict.fromkeys(roles, (shapes[0][0],))


def _batch_norm_layer(node: Node, shapes: Shapes) -> nn.Module:
    is_image = len(shapes[0]) == 3  # noqa: PLR2004 - channels, height, width
    make = layers.UncountedBatchNorm2d if is_image else layers.UncountedBatchNorm1d
    return make(
        shapes[0][0],
        eps=_float(node, "eps"),
        momentum=_float(node, "momentum"),
        has_weight="weight" in node.tensors,
        has_bias="bias" in node.tensors,
    )


BATCH_NORM = Operator(
    layer=_batch_norm_layer,
    output_shape=_same,
    attributes={"eps": real(minimum=0.0), "momentum": FRACTION},
    required=("running_mean", "running_var"),
    optional=("weight", "bias"),
    tensor_shapes=_per_channel("weight", "bias", "running_mean", "running_var"),
)


def _group_norm_shape(node: Node, shapes: Shapes) -> Shape:
    channels, n_groups = _image(shapes)[0], _int(node, "n_groups")
    if channels % n_groups:
        raise ShapeError(f"{n_groups} groups do not divide {channels} channels")
    return shapes[0]


GROUP_NORM = Operator(
    layer=lambda node, shapes: layers.GroupNorm(
        _int(node, "n_groups"),
        shapes[0][0],
        eps=_float(node, "eps"),
        roles=node.tensors,
    ),
    output_shape=_group_norm_shape,
    attributes={"n_groups": POSITIVE, "eps": real(minimum=0.0)},
    optional=("weight", "bias"),
    tensor_shapes=_per_channel("weight", "bias"),
)

CHANNEL_NORM = Operator(
    layer=lambda node, shapes: layers.ChannelNorm(
        shapes[0][0], eps=_float(node, "eps"), roles=node.tensors
    ),
    output_shape=_same,
    attributes={"eps": real(minimum=0.0)},
    optional=("weight", "bias"),
    tensor_shapes=_per_channel("weight", "bias"),
)


# --- elementwise ------------------------------------------------------------------------------


def _elementwise(
    make: Callable[[Node], nn.Module], attributes: Mapping[str, Attribute] | None = None
) -> Operator:
    return Operator(
        layer=lambda node, _shapes: make(node),
        output_shape=_same,
        attributes=attributes or {},
    )


def _clamp_attributes() -> dict[str, Attribute]:
    return {"minimum": NUMBER, "maximum": NUMBER}


ELEMENTWISE: dict[str, Operator] = {
    "relu": _elementwise(lambda _node: nn.ReLU()),
    "relu6": _elementwise(lambda _node: nn.ReLU6()),
    "leaky_relu": _elementwise(
        lambda node: nn.LeakyReLU(_float(node, "negative_slope")), {"negative_slope": NUMBER}
    ),
    "elu": _elementwise(lambda node: nn.ELU(_float(node, "alpha")), {"alpha": NUMBER}),
    "silu": _elementwise(lambda _node: nn.SiLU()),
    "mish": _elementwise(lambda _node: nn.Mish()),
    "gelu": _elementwise(
        lambda node: nn.GELU(str(node.attributes["approximate"])),
        {"approximate": choice("none", "tanh")},
    ),
    "hardswish": _elementwise(lambda _node: nn.Hardswish()),
    "hardsigmoid": _elementwise(lambda _node: nn.Hardsigmoid()),
    "sigmoid": _elementwise(lambda _node: nn.Sigmoid()),
    "tanh": _elementwise(lambda _node: nn.Tanh()),
    "softplus": _elementwise(lambda _node: nn.Softplus()),
    "clamp": _elementwise(
        lambda node: layers.Clamp(_float(node, "minimum"), _float(node, "maximum")),
        _clamp_attributes(),
    ),
    "add_scalar": _elementwise(
        lambda node: layers.AddScalar(_float(node, "value")), {"value": NUMBER}
    ),
    "mul_scalar": _elementwise(
        lambda node: layers.MulScalar(_float(node, "value")), {"value": NUMBER}
    ),
    "dropout": _elementwise(lambda node: nn.Dropout(_float(node, "p")), {"p": FRACTION}),
    "dropout_channels": _elementwise(
        lambda node: layers.DropoutChannels(_float(node, "p")), {"p": FRACTION}
    ),
    "identity": _elementwise(lambda _node: nn.Identity()),
}

CHANNEL_AFFINE = Operator(
    layer=lambda node, shapes: layers.ChannelAffine(
        shapes[0], has_weight="weight" in node.tensors, has_bias="bias" in node.tensors
    ),
    output_shape=_same,
    optional=("weight", "bias"),
    tensor_shapes=_per_channel("weight", "bias"),
)

PRELU = Operator(
    layer=lambda _node, shapes: nn.PReLU(shapes[0][0], device="meta"),
    output_shape=_same,
    required=("weight",),
    tensor_shapes=_per_channel("weight"),
)


def aligned(shape: Shape, rank: int) -> Shape:
    """Return the shape with ones appended: a vector has one value for each channel (G-11)."""
    return shape + (1,) * (rank - len(shape))


def broadcast(shapes: Shapes) -> Shape:
    """Return the shape of an elementwise operator of several inputs (G-11).

    Raises:
        ShapeError: Two dimensions differ and neither is 1.
    """
    rank = max(len(shape) for shape in shapes)
    output = []
    for sizes in zip(*(aligned(shape, rank) for shape in shapes), strict=True):
        wide = {size for size in sizes if size != 1} or {1}
        if len(wide) > 1:
            raise ShapeError(f"shapes {' and '.join(map(str, shapes))} do not broadcast")
        output.append(wide.pop())
    return tuple(output)


def _binary(make: Callable[[int, int], nn.Module]) -> Operator:
    return Operator(
        layer=lambda _node, shapes: make(*layers.trailing_ones(shapes[0], shapes[1])),
        output_shape=lambda _node, shapes: broadcast(shapes),
        n_inputs=2,
    )


def _cat_shape(_node: Node, shapes: Shapes) -> Shape:
    rest = {shape[1:] for shape in shapes}
    if len(rest) > 1:
        raise ShapeError(f"shapes {' and '.join(map(str, shapes))} differ in more than channels")
    return (sum(shape[0] for shape in shapes), *rest.pop())


CAT = Operator(layer=lambda _node, _shapes: layers.Cat(), output_shape=_cat_shape, n_inputs=None)


# --- pooling and space ------------------------------------------------------------------------


def _pool_size(
    size: int, kernel: int, stride: int, padding: int, dilation: int, *, ceil: bool
) -> int:
    if padding * 2 > kernel:
        raise ShapeError(f"padding {padding} is more than half of the window {kernel}")
    floored = _window(size, kernel, stride, padding, dilation)
    if not ceil:
        return floored
    reach = dilation * (kernel - 1) + 1
    rounded = -(-(size + 2 * padding - reach) // stride) + 1
    return rounded - 1 if (rounded - 1) * stride >= size + padding else rounded


def _pool_shape(node: Node, shapes: Shapes) -> Shape:
    channels, height, width = _image(shapes)
    dilation = _pair(node, "dilation") if "dilation" in node.attributes else (1, 1)
    terms = [_pair(node, name) for name in ("kernel_size", "stride", "padding")]
    tall, wide = zip(*terms, dilation, strict=True)
    ceil = _flag(node, "ceil_mode")
    return channels, _pool_size(height, *tall, ceil=ceil), _pool_size(width, *wide, ceil=ceil)


def _max_pool_layer(node: Node, _shapes: Shapes) -> nn.Module:
    return nn.MaxPool2d(
        _pair(node, "kernel_size"),
        _pair(node, "stride"),
        _pair(node, "padding"),
        _pair(node, "dilation"),
        ceil_mode=_flag(node, "ceil_mode"),
    )


def _avg_pool_layer(node: Node, _shapes: Shapes) -> nn.Module:
    return nn.AvgPool2d(
        _pair(node, "kernel_size"),
        _pair(node, "stride"),
        _pair(node, "padding"),
        ceil_mode=_flag(node, "ceil_mode"),
        count_include_pad=_flag(node, "count_include_pad"),
    )


_POOL_ATTRIBUTES: dict[str, Attribute] = {
    "kernel_size": PAIR,
    "stride": PAIR,
    "padding": NATURAL_PAIR,
    "ceil_mode": flag(),
}

MAX_POOL2D = Operator(
    layer=_max_pool_layer,
    output_shape=_pool_shape,
    attributes={**_POOL_ATTRIBUTES, "dilation": PAIR},
)
AVG_POOL2D = Operator(
    layer=_avg_pool_layer,
    output_shape=_pool_shape,
    attributes={**_POOL_ATTRIBUTES, "count_include_pad": flag()},
)


def _adaptive(make: Callable[[tuple[int, int]], nn.Module]) -> Operator:
    return Operator(
        layer=lambda node, _shapes: make(_pair(node, "output_size")),
        output_shape=lambda node, shapes: (_image(shapes)[0], *_pair(node, "output_size")),
        attributes={"output_size": PAIR},
    )


def _mean_shape(node: Node, shapes: Shapes) -> Shape:
    channels = _image(shapes)[0]
    return (channels, 1, 1) if _flag(node, "keepdim") else (channels,)


MEAN = Operator(
    layer=lambda node, _shapes: layers.Mean(keepdim=_flag(node, "keepdim")),
    output_shape=_mean_shape,
    attributes={"keepdim": flag()},
)


def _pad_shape(node: Node, shapes: Shapes) -> Shape:
    channels, height, width = _image(shapes)
    left, right, top, bottom = _ints(node, "padding")
    return channels, height + top + bottom, width + left + right


PAD = Operator(
    layer=lambda node, _shapes: layers.pad(_ints(node, "padding"), _float(node, "value")),
    output_shape=_pad_shape,
    attributes={"padding": integers(length=4, minimum=0), "value": NUMBER},
)


def _subsample_shape(node: Node, shapes: Shapes) -> Shape:
    channels, *sizes = _image(shapes)
    start, step, size = (_pair(node, name) for name in ("start", "step", "size"))
    for at, by, count, limit in zip(start, step, size, sizes, strict=True):
        if at + by * (count - 1) >= limit:
            raise ShapeError(f"pixel {at + by * (count - 1)} is outside of {limit}")
    return (channels, *size)


SUBSAMPLE = Operator(
    layer=lambda node, _shapes: layers.Subsample(
        _pair(node, "start"), _pair(node, "step"), _pair(node, "size")
    ),
    output_shape=_subsample_shape,
    attributes={"start": NATURAL_PAIR, "step": PAIR, "size": PAIR},
)


# --- shapes and channels ----------------------------------------------------------------------

FLATTEN = Operator(
    layer=lambda _node, _shapes: nn.Flatten(),
    output_shape=lambda _node, shapes: (math.prod(_image(shapes)),),
)


def _unflatten_shape(node: Node, shapes: Shapes) -> Shape:
    shape = tuple(_ints(node, "shape"))
    if math.prod(shape) != _vector(shapes):
        raise ShapeError(f"{_vector(shapes)} features do not fill the shape {shape}")
    return shape


UNFLATTEN = Operator(
    layer=lambda node, _shapes: nn.Unflatten(1, tuple(_ints(node, "shape"))),
    output_shape=_unflatten_shape,
    attributes={"shape": integers(length=3, minimum=1)},
)


def _select_shape(node: Node, shapes: Shapes) -> Shape:
    indices = _ints(node, "indices")
    if max(indices) >= shapes[0][0]:
        raise ShapeError(f"channel {max(indices)} is outside of {shapes[0][0]}")
    return (len(indices), *shapes[0][1:])


SELECT_CHANNELS = Operator(
    layer=lambda node, shapes: layers.SelectChannels(_ints(node, "indices"), shapes[0][0]),
    output_shape=_select_shape,
    attributes={"indices": integers(minimum=0)},
)


def _scatter_shape(node: Node, shapes: Shapes) -> Shape:
    indices, n_channels = _ints(node, "indices"), _int(node, "n_channels")
    if len(indices) != shapes[0][0]:
        raise ShapeError(f"{len(indices)} indices for {shapes[0][0]} channels")
    if max(indices) >= n_channels or len(set(indices)) != len(indices):
        raise ShapeError(f"indices must be distinct and below {n_channels}")
    return (n_channels, *shapes[0][1:])


SCATTER_CHANNELS = Operator(
    layer=lambda node, shapes: layers.ScatterChannels(
        _ints(node, "indices"),
        _int(node, "n_channels"),
        rank=len(shapes[0]),
        has_fill="fill" in node.tensors,
    ),
    output_shape=_scatter_shape,
    attributes={"indices": integers(minimum=0), "n_channels": POSITIVE},
    optional=("fill",),
    tensor_shapes=lambda node, _shapes: {"fill": (_int(node, "n_channels"),)},
)


def _constant_shape(node: Node, _shapes: Shapes) -> Shape:
    shape = tuple(_ints(node, "shape"))
    if len(shape) not in {1, 3}:
        raise ShapeError(f"{shape} is neither (C, H, W) nor (F,)")
    return shape


CONSTANT = Operator(
    layer=lambda node, _shapes: layers.Constant(
        tuple(_ints(node, "shape")), has_fill="fill" in node.tensors
    ),
    output_shape=_constant_shape,
    attributes={"shape": integers(minimum=1)},
    optional=("fill",),
    tensor_shapes=lambda node, _shapes: {"fill": (_ints(node, "shape")[0],)},
)


def _softmax(make: Callable[[], nn.Module]) -> Operator:
    return Operator(layer=lambda _node, _shapes: make(), output_shape=_same_vector)


OPERATORS: dict[str, Operator] = {
    "conv2d": CONV2D,
    "linear": LINEAR,
    "batch_norm2d": BATCH_NORM,
    "group_norm": GROUP_NORM,
    "channel_norm": CHANNEL_NORM,
    **ELEMENTWISE,
    "channel_affine": CHANNEL_AFFINE,
    "prelu": PRELU,
    "add": _binary(layers.Add),
    "sub": _binary(layers.Sub),
    "mul": _binary(layers.Mul),
    "maximum": _binary(layers.Maximum),
    "minimum": _binary(layers.Minimum),
    "cat": CAT,
    "max_pool2d": MAX_POOL2D,
    "avg_pool2d": AVG_POOL2D,
    "adaptive_avg_pool2d": _adaptive(nn.AdaptiveAvgPool2d),
    "adaptive_max_pool2d": _adaptive(layers.AdaptiveMaxPool2d),
    "mean": MEAN,
    "pad": PAD,
    "subsample": SUBSAMPLE,
    "flatten": FLATTEN,
    "unflatten": UNFLATTEN,
    "select_channels": SELECT_CHANNELS,
    "scatter_channels": SCATTER_CHANNELS,
    "constant": CONSTANT,
    "softmax": _softmax(lambda: nn.Softmax(dim=1)),
    "log_softmax": _softmax(lambda: nn.LogSoftmax(dim=1)),
}
