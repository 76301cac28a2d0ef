"""Sizes of the values of a graph that runs: `infer_shapes` of valid graphs, without torch.

What is checked there (`specs/graph.md`) is not checked here: a graph that is not valid has no
sizes, or wrong ones, and runs nowhere.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from modpm.core.errors import ModpmError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from modpm.core.formats.network_graph import Graph, Node

Shape = tuple[int, ...]
"""Of the value for one image: (C, H, W) or (F,)."""


def value_sizes(graph: Graph) -> dict[str, Shape]:
    """Return the shape of every value of a graph, for one image.

    Raises:
        ModpmError: It has none (`invalid-graph`).
    """
    shapes: dict[str, Shape] = {graph.input: graph.input_shape}
    for node in graph.nodes:
        try:
            inputs = [shapes[name] for name in (node.inputs[0], *node.inputs[1:])]
            shapes[node.name] = _RULES.get(node.operator, _same)(node, inputs)
        except (KeyError, IndexError, TypeError, ValueError, ZeroDivisionError) as error:
            raise ModpmError(
                "the network graph is invalid",
                code="invalid-graph",
                where=f"node {node.name!r}",
                why="the size of its value cannot be told",
            ) from error
    return shapes


def _same(_node: Node, shapes: Sequence[Shape]) -> Shape:
    return shapes[0]


def _numbers(node: Node, name: str) -> list[int]:
    value: Any = node.attributes[name]
    return list(map(int, value))


def _windows(node: Node, shapes: Sequence[Shape]) -> list[int]:
    """Return height and width of what windows make of an image (G-9)."""
    dilations = _numbers(node, "dilation") if "dilation" in node.attributes else [1, 1]
    terms = [_numbers(node, name) for name in ("kernel_size", "stride", "padding")]
    pairs = zip(shapes[0][1:], *terms, dilations, strict=True)
    return [_window(*pair, ceil=bool(node.attributes.get("ceil_mode"))) for pair in pairs]


def _window(size: int, kernel: int, stride: int, padding: int, dilation: int, *, ceil: bool) -> int:
    room = size + 2 * padding - dilation * (kernel - 1) - 1
    if not ceil:
        return room // stride + 1
    rounded = -(-room // stride) + 1
    return rounded - 1 if (rounded - 1) * stride >= size + padding else rounded


def _conv(node: Node, shapes: Sequence[Shape]) -> Shape:
    n_kernels, groups = _count(node, "n_kernels"), _count(node, "groups")
    if shapes[0][0] % groups or n_kernels % groups:
        raise ValueError(groups)
    return (n_kernels, *_windows(node, shapes))


def _linear(node: Node, shapes: Sequence[Shape]) -> Shape:
    (_n_features,) = shapes[0]
    return (_count(node, "n_features"),)


def _count(node: Node, name: str) -> int:
    value: Any = node.attributes[name]
    return int(value)


def _pool(node: Node, shapes: Sequence[Shape]) -> Shape:
    return (shapes[0][0], *_windows(node, shapes))


def _wide(_node: Node, shapes: Sequence[Shape]) -> Shape:
    """Return the size of what several values are broadcast to (G-11)."""
    rank = max(map(len, shapes))
    even = [(*shape, *[1] * (rank - len(shape))) for shape in shapes]
    return tuple(map(max, zip(*even, strict=True)))


def _cat(_node: Node, shapes: Sequence[Shape]) -> Shape:
    return (sum(shape[0] for shape in shapes), *shapes[0][1:])


def _mean(node: Node, shapes: Sequence[Shape]) -> Shape:
    return (shapes[0][0], 1, 1) if node.attributes["keepdim"] else shapes[0][:1]


def _pad(node: Node, shapes: Sequence[Shape]) -> Shape:
    channels, height, width = shapes[0]
    left, right, top, bottom = _numbers(node, "padding")
    return channels, height + top + bottom, width + left + right


def _select_pixels(node: Node, shapes: Sequence[Shape]) -> Shape:
    return (shapes[0][0], len(_numbers(node, "rows")), len(_numbers(node, "columns")))


_RULES: dict[str, Callable[[Node, Sequence[Shape]], Shape]] = {
    "conv2d": _conv,
    "linear": _linear,
    **dict.fromkeys(("add", "sub", "mul", "maximum", "minimum"), _wide),
    "cat": _cat,
    **dict.fromkeys(("max_pool2d", "avg_pool2d"), _pool),
    **dict.fromkeys(
        ("adaptive_avg_pool2d", "adaptive_max_pool2d"),
        lambda node, shapes: (shapes[0][0], *_numbers(node, "output_size")),
    ),
    "mean": _mean,
    "pad": _pad,
    "subsample": lambda node, shapes: (shapes[0][0], *_numbers(node, "size")),
    "select_pixels": _select_pixels,
    "flatten": lambda _node, shapes: (math.prod(shapes[0]),),
    "unflatten": lambda node, _shapes: tuple(_numbers(node, "shape")),
    "select_channels": lambda node, shapes: (len(_numbers(node, "indices")), *shapes[0][1:]),
    "scatter_channels": lambda node, shapes: (_count(node, "n_channels"), *shapes[0][1:]),
    "constant": lambda node, _shapes: tuple(_numbers(node, "shape")),
}
"""Operators whose value has another size than what they read first."""
