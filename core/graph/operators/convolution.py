"""Convolutions and linear layers, whose kernels are what is cut."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, nn

from modpm.core.graph.attributes import NATURAL_PAIR, PAIR, POSITIVE
from modpm.core.graph.cutting.cutter import UNUSED, Cutter, Piece
from modpm.core.graph.cutting.kinds import CONSTANT, VARYING, ZERO, Kinds, places
from modpm.core.graph.cutting.recipes import Offset, Recipe, weighted_sum, whole
from modpm.core.graph.cutting.rules import Rule
from modpm.core.graph.index_views import View
from modpm.core.graph.operators.definition import (
    IMAGE_RANK,
    VECTOR_RANK,
    Operator,
    Shape,
    ShapeError,
    Shapes,
    image_shape,
    int_of,
    ints_of,
    meta_buffer,
    pair_of,
    vector_size,
    window,
)
from modpm.core.graph.translation import (
    Arguments,
    Constant,
    Handler,
    Translator,
    UntranslatableError,
    given,
    pair,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modpm.core.formats.network_graph import AttributeValue, Node
    from modpm.core.graph.cutting.rules import Flow


class OffsetConv2d(nn.Conv2d):
    """A convolution that adds a constant to each kernel's output, apart from its bias."""

    offset: Tensor

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]  # passed through as given
        self.register_buffer("offset", meta_buffer(self.out_channels))

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        """Return the convolution plus the offset."""
        bias = self.offset if self.bias is None else self.bias + self.offset
        convolved: Tensor = self._conv_forward(input, self.weight, bias)
        return convolved


class OffsetLinear(nn.Linear):
    """A linear layer that adds a constant to each feature, apart from its bias."""

    offset: Tensor

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]  # passed through as given
        self.register_buffer("offset", meta_buffer(self.out_features))

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        """Return the product plus the offset."""
        bias = self.offset if self.bias is None else self.bias + self.offset
        return F.linear(input, self.weight, bias)


def _windows(node: Node, shapes: Shapes) -> tuple[int, int]:
    _, height, width = image_shape(shapes)
    terms = [pair_of(node, name) for name in ("kernel_size", "stride", "padding", "dilation")]
    tall, wide = zip(*terms, strict=True)
    return window(height, *tall), window(width, *wide)


def _conv_shape(node: Node, shapes: Shapes) -> Shape:
    channels, n_kernels, groups = (
        image_shape(shapes)[0],
        int_of(node, "n_kernels"),
        int_of(node, "groups"),
    )
    if channels % groups or n_kernels % groups:
        raise ShapeError(
            f"{groups} groups divide not both {channels} channels, {n_kernels} kernels"
        )
    return (n_kernels, *_windows(node, shapes))


def _conv_tensor_shapes(node: Node, shapes: Shapes) -> dict[str, Shape]:
    n_kernels, channels = int_of(node, "n_kernels"), shapes[0][0]
    weight = (n_kernels, channels // int_of(node, "groups"), *pair_of(node, "kernel_size"))
    return {"weight": weight, "bias": (n_kernels,), "offset": (n_kernels,)}


def _conv_macs(node: Node, shapes: Shapes, output: Shape) -> int:
    return math.prod(_conv_tensor_shapes(node, shapes)["weight"]) * math.prod(output[1:])


def _conv_layer(node: Node, shapes: Shapes) -> nn.Module:
    make = OffsetConv2d if "offset" in node.tensors else nn.Conv2d
    return make(
        shapes[0][0],
        int_of(node, "n_kernels"),
        pair_of(node, "kernel_size"),
        stride=pair_of(node, "stride"),
        padding=pair_of(node, "padding"),
        dilation=pair_of(node, "dilation"),
        groups=int_of(node, "groups"),
        bias="bias" in node.tensors,
        device="meta",
    )


def _linear_tensor_shapes(node: Node, shapes: Shapes) -> dict[str, Shape]:
    n_features = int_of(node, "n_features")
    return {
        "weight": (n_features, vector_size(shapes)),
        "bias": (n_features,),
        "offset": (n_features,),
    }


def _linear_shape(node: Node, shapes: Shapes) -> Shape:
    vector_size(shapes)
    return (int_of(node, "n_features"),)


def _linear_layer(node: Node, shapes: Shapes) -> nn.Module:
    make = OffsetLinear if "offset" in node.tensors else nn.Linear
    has_bias = "bias" in node.tensors
    return make(vector_size(shapes), int_of(node, "n_features"), bias=has_bias, device="meta")


@dataclass(frozen=True)
class _Groups:
    """The sizes of a layer: a linear layer is one group without edges."""

    n_groups: int
    n_inputs: int
    n_outputs: int
    has_edges: bool

    def of_output(self, channel: int) -> int:
        return channel // self.n_outputs

    def inputs(self, group: int) -> range:
        return range(group * self.n_inputs, (group + 1) * self.n_inputs)

    def outputs(self, group: int) -> range:
        return range(group * self.n_outputs, (group + 1) * self.n_outputs)

    def unfoldable(self) -> tuple[int, ...]:
        """Return the kinds of input channels that no constant of each kernel can stand for."""
        return (VARYING, CONSTANT) if self.has_edges else (VARYING,)


def _groups(node: Node, flow: Flow) -> _Groups:
    n_inputs = len(flow.kinds[node.inputs[0]])
    if node.operator == "linear":
        return _Groups(1, n_inputs, int_of(node, "n_features"), has_edges=False)
    n_groups = int_of(node, "groups")
    has_edges = any(ints_of(node, "padding"))
    return _Groups(n_groups, n_inputs // n_groups, int_of(node, "n_kernels") // n_groups, has_edges)


@dataclass(frozen=True)
class _Parts:
    """What is left of a layer.

    Attributes:
        groups: The groups that are left.
        relative: The input channels that are left, counted within each group.
        inputs: The same, counted from the first of all.
        kernels: The kernels that are left, as many in each group.
    """

    groups: list[int]
    relative: list[int]
    inputs: list[int]
    kernels: list[int]


def _parts(node: Node, wanted: Sequence[int], flow: Flow) -> _Parts:
    """Cut a layer to groups of one size: what any group needs, every group keeps."""
    sizes, kinds = _groups(node, flow), flow.kinds[node.inputs[0]]
    groups = sorted({sizes.of_output(channel) for channel in wanted})
    needed = np.isin(kinds, sizes.unfoldable()).reshape(sizes.n_groups, sizes.n_inputs)
    relative = [int(place) for place in np.flatnonzero(needed[groups].any(0))]
    inputs = [sizes.inputs(group)[place] for group in groups for place in relative]
    return _Parts(groups, relative, inputs, _even_kernels(sizes, groups, wanted))


def _even_kernels(sizes: _Groups, groups: list[int], wanted: Sequence[int]) -> list[int]:
    """Return the wanted kernels, with others in the groups that have fewer of them."""
    chosen = {group: [k for k in wanted if sizes.of_output(k) == group] for group in groups}
    most = max(map(len, chosen.values()))
    kernels = []
    for group, kept in chosen.items():
        spare = [kernel for kernel in sizes.outputs(group) if kernel not in set(kept)]
        kernels += sorted(kept + spare[: most - len(kept)])
    return kernels


class WeightedRule(Rule):
    """Each output channel a weighted sum of the input channels of its group."""

    def kinds(self, node: Node, flow: Flow) -> Kinds:
        """Return constant for kernels that read only what can be folded away."""
        sizes = _groups(node, flow)
        kinds = flow.kinds[node.inputs[0]].reshape(sizes.n_groups, sizes.n_inputs)
        known = CONSTANT if {"bias", "offset"} & set(node.tensors) else ZERO
        found = [self._of_group(group, sizes, known) for group in kinds]
        return np.repeat(np.array(found, dtype=np.int8), sizes.n_outputs)

    def _of_group(self, kinds: Kinds, sizes: _Groups, known: int) -> int:
        if places(kinds, *sizes.unfoldable()):
            return VARYING
        return CONSTANT if (kinds == CONSTANT).any() else known

    def values(self, node: Node, _flow: Flow, inputs: Sequence[Tensor], layer: nn.Module) -> Tensor:
        """Return the weighted sum of the constants, with bias and offset."""
        total = weighted_sum(node, layer.get_parameter("weight"), inputs[0])
        for role in {"bias", "offset"} & set(node.tensors):
            total = total + getattr(layer, role)
        return total

    def needs(self, node: Node, wanted: Sequence[int], flow: Flow) -> list[list[int]]:
        """Return all that varies in the groups of the wanted kernels."""
        return [_parts(node, wanted, flow).inputs]

    def cut(self, node: Node, wanted: Sequence[int], flow: Flow, cutter: Cutter) -> Piece:
        """Add the layer with what is left of its kernels and of their channels."""
        parts = _parts(node, wanted, flow)
        source = cutter.conform(node.inputs[0], parts.inputs, node.name)
        n_kernels = len(parts.kernels)
        if node.operator == "linear":
            attributes = {"n_features": n_kernels}
        else:
            attributes = {"n_kernels": n_kernels, "groups": len(parts.groups)}
        name = cutter.add(node, [source], attributes, _recipes(node, parts, flow, cutter))
        kept = set(wanted)
        return Piece(name, tuple(k if k in kept else UNUSED for k in parts.kernels))


def _recipes(node: Node, parts: _Parts, flow: Flow, cutter: Cutter) -> dict[str, Recipe]:
    sizes = _groups(node, flow)
    kernels = whole(parts.kernels, sizes.n_groups * sizes.n_outputs)
    space = () if node.operator == "linear" else (None, None)
    weight = (kernels, whole(parts.relative, sizes.n_inputs), *space)
    recipes = cutter.cuts(node, {"weight": weight, "bias": (kernels,), "offset": (kernels,)})
    folded = _folded(node, parts, flow)
    if folded:
        recipes["offset"] = Offset(node, parts.kernels, folded)
    return recipes


def _folded(node: Node, parts: _Parts, flow: Flow) -> list[int]:
    """Return the constant input channels that an offset stands for."""
    sizes, kinds = _groups(node, flow), flow.kinds[node.inputs[0]]
    left = set(parts.inputs)
    read = [channel for group in parts.groups for channel in sizes.inputs(group)]
    return [channel for channel in read if kinds[channel] == CONSTANT and channel not in left]


def _conv(t: Translator, a: Arguments) -> View:
    if a.get("transposed"):
        raise UntranslatableError("a transposed convolution")
    value, weight = t.image(a["input"]), a["weight"]
    if not isinstance(weight, Constant) or weight.tensor.dim() != 4:  # noqa: PLR2004 - 2d
        raise UntranslatableError(
            "its weight is not of shape (K, C, H, W), or depends on the image"
        )
    kernel, dilation = list(weight.tensor.shape[2:]), pair(a["dilation"])
    padding = a["padding"]
    if isinstance(padding, str):
        value, padding = _padded_alike(t, value, padding, kernel, dilation)
    return t.emit(
        "conv2d",
        [value],
        {
            "n_kernels": weight.tensor.shape[0],
            "kernel_size": kernel,
            "stride": pair(a["stride"]),
            "padding": pair(padding),
            "dilation": dilation,
            "groups": a["groups"],
        },
        given(weight=weight, bias=a["bias"]),
    )


def _conv1d(t: Translator, a: Arguments) -> View:
    """Express a convolution along a line, such as one over channels, by one along a column."""
    view, weight = a["input"], a["weight"]
    if not isinstance(view, View) or not isinstance(weight, Constant):
        raise UntranslatableError("its weight depends on the image")
    if isinstance(a["padding"], str):
        raise UntranslatableError("padding in words", "give the padding as a number")
    column = view.reindexed(view.indices().unsqueeze(-1))
    alone = {"stride": 1, "padding": 0, "dilation": 1}
    along = {name: [a[name][0], other] for name, other in alone.items()}
    long = weight.arranged(weight.tensor.unsqueeze(-1))
    value = _conv(t, {**a, **along, "input": column, "weight": long})
    return value.reindexed(value.indices().squeeze(-1))


def _padded_alike(
    t: Translator, value: View, padding: str, kernel: list[int], dilation: list[int]
) -> tuple[View, list[int]]:
    """Return what `same` or `valid` padding is, in pixels, with a node for an uneven rest."""
    if padding == "valid":
        return value, [0, 0]
    totals = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    tall, wide = (total % 2 for total in totals)
    if tall or wide:
        value = t.emit("pad", [value], {"padding": [0, wide, 0, tall], "value": 0.0})
    return value, [total // 2 for total in totals]


def _linear(t: Translator, a: Arguments) -> View:
    weight, view = a["weight"], a["input"]
    if not isinstance(weight, Constant):
        raise UntranslatableError("its weight depends on the image")
    tensors = given(weight=weight, bias=a["bias"])
    if len(view.shape) > VECTOR_RANK:
        return _pointwise(t, view, weight, tensors)
    return t.emit("linear", [t.node_value(view)], {"n_features": len(weight.tensor)}, tensors)


def _pointwise(t: Translator, view: View, weight: Constant, tensors: dict[str, Constant]) -> View:
    """Express a linear layer on the last dimension of images as a 1 x 1 convolution."""
    tensors["weight"] = weight.arranged(weight.tensor[:, :, None, None])
    value = channels_first(t, view)
    result = t.emit("conv2d", [value], _pointwise_attributes(len(weight.tensor)), tensors)
    return channels_last(result, view)


def channels_first(t: Translator, view: View) -> View:
    """Return a value whose channels come last as a node's, whose channels come first."""
    *space, n_channels = view.shape
    index = view.indices().reshape(-1, n_channels).t()
    return t.image(view.reindexed(index.reshape(n_channels, *space_of(view, space))))


def channels_last(value: View, like: View) -> View:
    """Arrange a node's value as another value is, whose channels come last."""
    index = value.indices().flatten(1).t()
    return value.reindexed(index.reshape(*like.shape[:-1], value.shape[0]))


def _pointwise_attributes(n_kernels: int) -> dict[str, AttributeValue]:
    ones = {"kernel_size": [1, 1], "stride": [1, 1], "dilation": [1, 1]}
    return {"n_kernels": n_kernels, "padding": [0, 0], "groups": 1, **ones}


def space_of(view: View, space: list[int]) -> tuple[int, ...]:
    """Return height and width of an image whose pixels may stand in one line."""
    if len(space) == 2:  # noqa: PLR2004 - height, width
        return tuple(space)
    is_image = len(view.base_shape) == IMAGE_RANK
    same = is_image and math.prod(view.base_shape[1:]) == math.prod(space)
    return view.base_shape[1:] if same else (math.prod(space), 1)


def _addmm(t: Translator, a: Arguments) -> View:
    if a["beta"] != 1 or a["alpha"] != 1:
        raise UntranslatableError("factors other than 1")
    return _product(t, a["mat1"], a["mat2"], a["self"])


def _mm(t: Translator, a: Arguments) -> View:
    other = a["mat2"] if "mat2" in a else a["other"]
    return _product(t, a["self"], other, None)


def _product(t: Translator, left: object, right: object, bias: Constant | None) -> View:
    if not isinstance(left, View) or not isinstance(right, Constant):
        raise UntranslatableError("a product of two values")
    weight = right.arranged(right.tensor.t())
    return _linear(t, {"input": left, "weight": weight, "bias": bias})


OPERATORS: dict[str, Operator] = {
    "conv2d": Operator(
        cut=WeightedRule(),
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
    ),
    "linear": Operator(
        cut=WeightedRule(),
        layer=_linear_layer,
        output_shape=_linear_shape,
        attributes={"n_features": POSITIVE},
        required=("weight",),
        optional=("bias", "offset"),
        tensor_shapes=_linear_tensor_shapes,
        macs=lambda node, shapes, _output: int_of(node, "n_features") * vector_size(shapes),
    ),
}


ATEN: dict[str, Handler] = {
    "conv2d": _conv,
    "convolution": _conv,
    "conv1d": _conv1d,
    "linear": _linear,
    "addmm": _addmm,
    "mm": _mm,
    "matmul": _mm,
}
