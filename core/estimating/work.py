"""The work of a pass: what a network does with a batch, counted step by step.

These are the steps that `GraphNetwork.predict` runs, of which it has fewer than the graph has
nodes: what normalizes is folded into the layer before it, and pools come before a relu.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec.structs import replace

from modpm.core.estimating.sizes import Shape, value_sizes

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from modpm.core.formats.network_graph import Graph, Node

BATCH_SIZES = (1, 64)
"""Images of a batch, for which latency is told."""

SMALL_INPUT = 20_480
"""Numbers of an input: torch gives a convolution of one image that has no more of them, and of
one group, to another library (`use_mkldnn` in its `Convolution.cpp`), which starts sooner."""


FEW_CHANNELS = 4
"""Of an image that is read; windows over no more of them have programs of their own."""


class Work(NamedTuple):
    """One step, for a whole batch.

    Attributes:
        kind: What is alike in speed: a key of `Rates`.
        times: How often a product of `n_inputs` and `n_outputs` is made; 0 where there is none.
        n_inputs: Channels that are summed over, of a group.
        n_outputs: Kernels, of a group.
        read: Numbers of the values that it reads.
        written: Numbers of the value that it makes.
        weights: Numbers of its weight; of a whole pass, how many tensors the network has.
    """

    kind: str
    times: int = 0
    n_inputs: int = 0
    n_outputs: int = 0
    read: int = 0
    written: int = 0
    weights: int = 0


def works(graph: Graph, batch_size: int) -> list[Work]:
    """Return what a network does with a batch.

    Args:
        graph: What it computes.
        batch_size: How many images.

    Raises:
        ModpmError: As `value_sizes`.
    """
    shapes, live = value_sizes(graph), graph.live()
    nodes = _folded([node for node in graph.nodes if node.name in live], graph)
    small = _after_pools(nodes, graph)
    n_tensors = len({name for node in graph.nodes for name in node.tensors.values()})
    steps = [Work("pass", weights=n_tensors)]
    for node in nodes:
        shape = shapes[small.get(node.name, node.name)]
        inputs = [shape] if node.name in small else [shapes[name] for name in node.inputs]
        steps.append(_work(node, inputs, shape, batch_size))
    return steps


def multiply_accumulates(node: Node, shapes: Mapping[str, Shape]) -> int:
    """Return the multiply-accumulates of a node for one image.

    Args:
        node: One of a graph.
        shapes: The sizes of its values.
    """
    step = _work(node, [shapes[name] for name in node.inputs], shapes[node.name], 1)
    return step.times * step.n_inputs * step.n_outputs


def image_work(shape: tuple[int, int, int], batch_size: int) -> Work:
    """Return what a classifier does with a batch beside what its networks do.

    Args:
        shape: Of an image: channels, height, width.
        batch_size: How many images.
    """
    return Work("image", read=batch_size * math.prod(shape))


def _readers(nodes: Iterable[Node], graph: Graph) -> Counter[str]:
    return Counter([graph.output, *(name for node in nodes for name in node.inputs)])


def _folded(nodes: Sequence[Node], graph: Graph) -> list[Node]:
    """Return nodes as `fold` leaves them: what normalizes is part of the layer before it."""
    readers = _readers(nodes, graph)
    left: dict[str, Node] = {}
    for node in nodes:
        layer = left.get(node.inputs[0])
        is_folded = (
            node.operator in {"batch_norm2d", "channel_affine"}
            and layer is not None
            and layer.operator in {"conv2d", "linear"}
            and readers[layer.name] == 1
        )
        left[node.name] = node
        if is_folded and layer is not None:
            left[node.name] = replace(layer, name=node.name)
            del left[layer.name]
    return list(left.values())


def _after_pools(nodes: Sequence[Node], graph: Graph) -> dict[str, str]:
    """Return relus that come after the pool that alone reads them, and that pool."""
    readers, by_name = _readers(nodes, graph), {node.name: node for node in nodes}
    return {
        source: node.name
        for node in nodes
        for source in node.inputs
        if node.operator == "max_pool2d"
        and source in by_name
        and by_name[source].operator == "relu"
        and readers[source] == 1
    }


def _work(node: Node, inputs: Sequence[Shape], output: Shape, batch_size: int) -> Work:
    read = batch_size * sum(map(math.prod, inputs))
    written = batch_size * math.prod(output)
    if node.operator == "conv2d":
        return _convolution(node, inputs[0], output, batch_size)
    if node.operator == "linear":
        (n_inputs,), (n_outputs,) = inputs[0], output
        weights = n_inputs * n_outputs
        return Work("linear", batch_size, n_inputs, n_outputs, read, written, weights)
    kind, n_parts = _KINDS.get(node.operator, "curve"), len(inputs) * (node.operator == "cat")
    if kind == "view":
        return Work(kind)  # no number is moved
    return Work(kind, read=read, written=written, weights=n_parts)


def _convolution(node: Node, shape: Shape, output: Shape, batch_size: int) -> Work:
    attributes: dict[str, Any] = node.attributes
    groups, area = attributes["groups"], math.prod(attributes["kernel_size"])
    n_inputs, n_outputs = shape[0] // groups, output[0] // groups
    times = batch_size * math.prod(output[1:]) * area
    weights = groups * n_inputs * n_outputs * area
    values = batch_size * math.prod(shape), batch_size * math.prod(output), weights
    if groups > 1 and n_inputs == n_outputs == 1:
        return Work("depthwise", times, 1, groups, *values)
    if groups > 1:
        return Work("grouped", times * groups, n_inputs, n_outputs, *values)
    kind = "pointwise" if area == 1 else "dense"
    if batch_size == 1 and math.prod(shape) <= SMALL_INPUT:
        kind = f"small {kind}"
    elif area > 1 and shape[0] <= FEW_CHANNELS:
        kind = "first"
    return Work(kind, times, n_inputs, n_outputs, *values)


_KINDS = {
    "relu": "relu",
    **dict.fromkeys(
        ("relu6", "clamp", "leaky_relu", "add_scalar", "mul_scalar", "prelu", "channel_affine"),
        "map",
    ),
    "pixel_affine": "map",
    **dict.fromkeys(("batch_norm2d", "group_norm", "channel_norm"), "norm"),
    **dict.fromkeys(("add", "sub", "mul", "maximum", "minimum"), "pair"),
    "cat": "cat",
    **dict.fromkeys(("select_channels", "select_pixels"), "select"),
    **dict.fromkeys(("scatter_channels", "pad", "constant"), "scatter"),
    **dict.fromkeys(
        ("max_pool2d", "avg_pool2d", "adaptive_avg_pool2d", "adaptive_max_pool2d"), "pool"
    ),
    "mean": "mean",
    **dict.fromkeys(
        (
            "flatten", "unflatten", "subsample", "identity",
            "dropout", "dropout_channels", "dropout_images",
        ),
        "view",
    ),
}  # fmt: skip
"""Operators by what is alike in speed; those that are not named compute a curve of each number."""

_WEIGHTED = ("linear", "first", "dense", "pointwise", "depthwise", "grouped")
_OF_ONE_IMAGE = ("small dense", "small pointwise")


def kinds(batch_size: int) -> set[str]:
    """Return all kinds of work that networks have.

    Args:
        batch_size: How many images.
    """
    small = _OF_ONE_IMAGE if batch_size == 1 else ()
    return {"pass", "image", "curve", *_KINDS.values(), *_WEIGHTED, *small}
