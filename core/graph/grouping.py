"""Several networks of equal shapes as one whose layers compute for all of them at once.

Class modules of one origin that keep equally many kernels differ in numbers alone. Side by side
each has calls of its own, and small layers cost little more than their calls. Grouped, channels of
all networks lie one after another, and a layer of each is one group of one layer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from msgspec.structs import replace

from modpm.core.formats.network_graph import AttributeValue, Node
from modpm.core.graph.operators.definition import int_of, ints_of
from modpm.core.graph.shapes import infer_shapes
from modpm.core.graph.side_by_side import PlainNetwork, SideBySide, free_name, shared_nodes

if TYPE_CHECKING:
    from torch import Tensor

_CHANNEL_BY_CHANNEL = frozenset(
    {
        "add", "sub", "mul", "maximum", "minimum", "relu", "relu6", "silu", "mish", "hardswish",
        "hardsigmoid", "sigmoid", "tanh", "softplus", "leaky_relu", "elu", "gelu", "clamp",
        "mul_scalar", "add_scalar", "identity", "quantize", "dropout", "max_pool2d", "avg_pool2d",
        "mean", "adaptive_avg_pool2d", "adaptive_max_pool2d", "pad", "subsample", "select_pixels",
        "flatten", "batch_norm2d", "channel_affine",
    }
)  # fmt: skip
"""Operators of which each channel reads its own alone, and whose tensors have one number each."""


class _Layer(NamedTuple):
    """A node of each network that is to become one.

    Attributes:
        nodes: One of each network; they differ in attributes that the rule looks after.
        name: What they are to be called as one.
        inputs: What the values that they read are called as one.
        is_grouped: Of each input, whether it has the channels of all networks.
        sizes: Of each input, how many numbers one network has of it, (C, H, W) or (F,).
    """

    nodes: Sequence[Node]
    name: str
    inputs: tuple[str, ...]
    is_grouped: Sequence[bool]
    sizes: Sequence[tuple[int, ...]]


def group(networks: Sequence[PlainNetwork]) -> PlainNetwork:
    """Return networks as one that gives their outputs one after another, up to rounding.

    Those that are alike in nodes and shapes are grouped, where all of their operators can be. What
    networks have in common, equal nodes with equal inputs and tensors, is there and computed once.

    Args:
        networks: Two or more, of equal inputs and input shapes.

    Shapes:
        the graph: (N, C, H, W) → (N, Σ n_outputs)
    """
    kinds: dict[object, list[int]] = {}
    for i, one in enumerate(networks):
        kinds.setdefault(_kind(one), []).append(i)
    order, parts = [], []
    for places in kinds.values():
        alike = [networks[i] for i in places]
        grouped = _group_alike(alike) if len(alike) > 1 else None
        parts += alike if grouped is None else [grouped]
        order += places
    together = SideBySide(parts, is_exact=True)
    graph, n_outputs = together.graph, infer_shapes(networks[0].graph)[networks[0].graph.output][0]
    if order != sorted(order):
        places = [order.index(i) for i in range(len(networks))]
        indices = [place * n_outputs + k for place in places for k in range(n_outputs)]
        name = free_name("ordered", [PlainNetwork(graph, {})])
        selection = Node(name, "select_channels", (graph.output,), {"indices": indices})
        graph = replace(graph, nodes=(*graph.nodes, selection), output=name)
    return PlainNetwork(graph, together.tensors)


def _kind(network: PlainNetwork) -> object:
    """Return what networks that are alike have in common."""
    shapes = infer_shapes(network.graph)
    return tuple((node.name, node.operator, shapes[node.name]) for node in network.graph.nodes)


def _group_alike(networks: Sequence[PlainNetwork]) -> PlainNetwork | None:
    """Return networks of one kind as one; None where a node cannot be grouped."""
    first, shapes = networks[0].graph, infer_shapes(networks[0].graph)
    shared, prefix = shared_nodes(networks), free_name("grouped", networks)
    nodes = [node for node in first.nodes if node.name in shared]
    tensors = {name: networks[0].tensors[name] for node in nodes for name in node.tensors.values()}
    for own in zip(*(one.graph.nodes for one in networks), strict=True):
        if own[0].name not in shared:
            layer = _layer(own, shared, shapes, prefix)
            made = None if layer is None else _grouped(layer, _tensors_of(own, networks))
            if made is None:
                return None
            nodes += made[0]
            tensors |= made[1]
    if first.output in shared:
        return None
    output = f"{prefix}.{first.output}"
    return PlainNetwork(replace(first, nodes=tuple(nodes), output=output), tensors)


_Roles = dict[str, Sequence["Tensor"]]
_Made = tuple[list[Node], dict[str, "Tensor"]]


def _layer(
    nodes: Sequence[Node],
    shared: set[str],
    shapes: dict[str, tuple[int, ...]],
    prefix: str,
) -> _Layer | None:
    first = nodes[0]
    kinds = {(node.operator, node.inputs, tuple(node.tensors.items())) for node in nodes}
    if len(kinds) > 1:
        return None
    inputs = tuple(name if name in shared else f"{prefix}.{name}" for name in first.inputs)
    is_grouped = [name not in shared for name in first.inputs]
    sizes = [shapes[name] for name in first.inputs]
    return _Layer(nodes, f"{prefix}.{first.name}", inputs, is_grouped, sizes)


def _tensors_of(nodes: Sequence[Node], networks: Sequence[PlainNetwork]) -> _Roles:
    return {
        role: [one.tensors[name] for one in networks] for role, name in nodes[0].tensors.items()
    }


def _grouped(layer: _Layer, roles: _Roles) -> _Made | None:
    """Return a layer of all networks, and what makes its output theirs one after another."""
    if any(len({(t.shape, t.dtype) for t in each}) > 1 for each in roles.values()):
        return None
    operator = layer.nodes[0].operator
    rule = _channels if operator in _CHANNEL_BY_CHANNEL else _RULES.get(operator)
    return None if rule is None else rule(layer, roles)


def _made(layer: _Layer, node: Node, roles: _Roles) -> _Made:
    """Return a node with the tensors of all networks one after another."""
    named = {role: f"{layer.name}.{role}" for role in roles}
    joined = {named[role]: torch.cat(list(each)) for role, each in roles.items()}
    return [replace(node, name=layer.name, inputs=layer.inputs, tensors=named)], joined


def _are_alike(layer: _Layer) -> bool:
    return all(node.attributes == layer.nodes[0].attributes for node in layer.nodes)


def _channels(layer: _Layer, roles: _Roles) -> _Made | None:
    if not _are_alike(layer):
        return None
    repeated, inputs = [], list(layer.inputs)
    for i, (name, is_grouped) in enumerate(zip(layer.inputs, layer.is_grouped, strict=True)):
        if not is_grouped:  # what is shared, once for each network
            inputs[i] = f"{layer.name}.repeated{i}"
            indices = [*range(layer.sizes[i][0])] * len(layer.nodes)
            repeated.append(Node(inputs[i], "select_channels", (name,), {"indices": indices}))
    nodes, tensors = _made(layer._replace(inputs=tuple(inputs)), layer.nodes[0], roles)
    return [*repeated, *nodes], tensors


def _convolution(layer: _Layer, roles: _Roles) -> _Made | None:
    node, n = layer.nodes[0], len(layer.nodes)
    groups = int_of(node, "groups")
    if not _are_alike(layer) or (groups > 1 and not layer.is_grouped[0]):
        return None
    more = {"n_kernels": n * int_of(node, "n_kernels")}
    if layer.is_grouped[0]:
        more["groups"] = n * groups
    return _made(layer, replace(node, attributes={**node.attributes, **more}), roles)


def _linear(layer: _Layer, roles: _Roles) -> _Made | None:
    """Return one linear layer of what is shared, or else a grouped convolution of one pixel."""
    node, n = layer.nodes[0], len(layer.nodes)
    if not _are_alike(layer):
        return None
    n_features = n * int_of(node, "n_features")
    if not layer.is_grouped[0]:
        return _made(layer, replace(node, attributes={"n_features": n_features}), roles)
    pixel, convolved = f"{layer.name}.pixel", f"{layer.name}.convolved"
    ((size,),) = layer.sizes
    attributes: dict[str, AttributeValue] = {
        "n_kernels": n_features,
        "kernel_size": [1, 1],
        "stride": [1, 1],
        "padding": [0, 0],
        "dilation": [1, 1],
        "groups": n,
    }
    weights = [weight[:, :, None, None] for weight in roles["weight"]]
    (convolution,), tensors = _made(
        layer._replace(name=convolved, inputs=(pixel,)),
        Node("", "conv2d", (), attributes),
        {**roles, "weight": weights},
    )
    nodes = [
        Node(pixel, "unflatten", layer.inputs, {"shape": [n * size, 1, 1]}),
        convolution,
        Node(layer.name, "flatten", (convolved,)),
    ]
    return nodes, tensors


def _unflattening(layer: _Layer, roles: _Roles) -> _Made | None:
    node = layer.nodes[0]
    if not (_are_alike(layer) and layer.is_grouped[0]):
        return None
    channels, *pixels = ints_of(node, "shape")
    shape = [len(layer.nodes) * channels, *pixels]
    return _made(layer, replace(node, attributes={"shape": shape}), roles)


def _indices(layer: _Layer) -> list[int]:
    """Return the indices of all networks, in the channels of all."""
    n_channels = layer.sizes[0][0]
    if layer.nodes[0].operator == "scatter_channels":
        n_channels = int_of(layer.nodes[0], "n_channels")
    step = n_channels if all(layer.is_grouped) else 0
    return [i * step + k for i, node in enumerate(layer.nodes) for k in ints_of(node, "indices")]


def _selection(layer: _Layer, roles: _Roles) -> _Made:
    attributes = {"indices": _indices(layer)}
    return _made(layer, replace(layer.nodes[0], attributes=attributes), roles)


def _scattering(layer: _Layer, roles: _Roles) -> _Made | None:
    if not layer.is_grouped[0]:
        return None
    n_channels = len(layer.nodes) * int_of(layer.nodes[0], "n_channels")
    attributes = {"indices": _indices(layer), "n_channels": n_channels}
    return _made(layer, replace(layer.nodes[0], attributes=attributes), roles)


def _concatenation(layer: _Layer, _roles: _Roles) -> _Made | None:
    """Return a concatenation, and after it the channels of each network together."""
    if not all(layer.is_grouped):
        return None
    n, sizes = len(layer.nodes), [size[0] for size in layer.sizes]
    starts = [n * sum(sizes[:i]) for i in range(len(sizes))]
    order = [
        start + i * size + k
        for i in range(n)
        for start, size in zip(starts, sizes, strict=True)
        for k in range(size)
    ]
    joined = f"{layer.name}.joined"
    nodes = [
        Node(joined, "cat", layer.inputs),
        Node(layer.name, "select_channels", (joined,), {"indices": order}),
    ]
    return nodes, {}


_Rule = Callable[[_Layer, _Roles], _Made | None]
_RULES: dict[str, _Rule] = {
    "conv2d": _convolution,
    "linear": _linear,
    "select_channels": _selection,
    "scatter_channels": _scattering,
    "unflatten": _unflattening,
    "cat": _concatenation,
}
