"""Which kernels are retained, checked; and where a network is masked by it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from modpm.core.errors import ModpmError
from modpm.core.graph.shapes import infer_shapes

if TYPE_CHECKING:
    from modpm.core.formats.network_graph import Graph, Node
    from modpm.core.graph.operators.definition import Shape

Retained = Mapping[str, Sequence[int]]
"""Convolution, or linear layer, to the indices of the kernels or features that are retained."""


def _sizes(graph: Graph) -> dict[str, int]:
    """Return how many kernels or features each convolution and linear layer has."""
    sizes = {"conv2d": "n_kernels", "linear": "n_features"}
    found: dict[str, int] = {}
    for node in graph.nodes:
        if node.operator in sizes:
            size = node.attributes[sizes[node.operator]]
            assert isinstance(size, int)
            found[node.name] = size
    return found


def checked(graph: Graph, retained: Retained) -> dict[str, list[int]]:
    """Return the retained kernels, ascending.

    Raises:
        ModpmError: A name is of no convolution or linear layer, an index is out of range or
            twice there (`bad-retained-kernels`).
    """
    sizes = _sizes(graph)
    for name, indices in retained.items():
        if name not in sizes:
            raise _bad(name, "the network has no convolution or linear layer of that name")
        if any(isinstance(i, bool) or not isinstance(i, int) for i in indices):
            raise _bad(name, "an index is not an integer")
        if any(not 0 <= i < sizes[name] for i in indices):
            raise _bad(name, f"an index is not below {sizes[name]}")
        if len(set(indices)) != len(indices):
            raise _bad(name, "an index is there twice")
    return {name: sorted(indices) for name, indices in retained.items()}


def checked_outputs(n_outputs: int, outputs: Sequence[int] | None) -> list[int]:
    """Return the wanted outputs, all of them where none are named.

    Raises:
        ModpmError: There are none, an index is out of range or twice there (`bad-outputs`).
    """
    if outputs is None:
        return list(range(n_outputs))
    wanted = list(outputs)
    in_range = all(0 <= index < n_outputs for index in wanted)
    if not wanted or not in_range or len(set(wanted)) != len(wanted):
        raise ModpmError(
            "these are not outputs of the network",
            code="bad-outputs",
            why=f"{wanted} are not distinct indices below {n_outputs}",
        )
    return wanted


def _bad(where: str, why: str) -> ModpmError:
    return ModpmError(
        "these kernels cannot be retained", code="bad-retained-kernels", where=where, why=why
    )


def mask_points(graph: Graph, retained: Retained) -> dict[str, list[int]]:
    """Return the nodes whose values are masked, with the channels that are left.

    A convolution that only a batch normalization reads is masked after it, so that the
    normalization's shift does not bring the kernel back.
    """
    points = _mask_points(graph, list(retained))
    return {points[name]: list(indices) for name, indices in retained.items()}


def _mask_points(graph: Graph, layers: Sequence[str]) -> dict[str, str]:
    readers: dict[str, list[Node]] = {}
    for node in graph.nodes:
        for name in node.inputs:
            readers.setdefault(name, []).append(node)
    return {name: _mask_point(name, readers.get(name, []), graph.output) for name in layers}


def _mask_point(name: str, readers: list[Node], output: str) -> str:
    is_normalized = len(readers) == 1 and readers[0].operator == "batch_norm2d"
    return readers[0].name if is_normalized and name != output else name


def cuttable_convolutions(graph: Graph) -> dict[str, str]:
    """Return the convolutions of whose kernels a class may keep some, in execution order.

    Not the first one, nor depthwise ones and those of pooled vectors (squeeze-and-excite), which
    follow what they read, nor those of one kernel, nor those that give the logits.

    Returns:
        Their names, each with the name of the node whose value is masked.
    """
    shapes = infer_shapes(graph)
    convolutions = [node for node in graph.nodes if node.operator == "conv2d"]
    logits = _convolutions_of_logits(graph)
    return _mask_points(
        graph,
        [
            node.name
            for node in convolutions[1:]
            if node.name not in logits
            and node.attributes["n_kernels"] != 1
            and not is_depthwise(node, shapes[node.inputs[0]])
            and shapes[node.inputs[0]][1:] != (1, 1)
        ],
    )


def is_depthwise(node: Node, input_shape: Shape) -> bool:
    """Say whether a node is a convolution of each channel by itself."""
    return node.operator == "conv2d" and node.attributes["groups"] == input_shape[0] > 1


def _convolutions_of_logits(graph: Graph) -> set[str]:
    """Return the convolutions whose kernels are classes: no weights between them and the output."""
    reached, found = {graph.output}, set()
    for node in reversed(graph.nodes):
        if node.name not in reached or node.operator == "linear":
            continue
        if node.operator == "conv2d":
            found.add(node.name)
        else:
            reached.update(node.inputs)
    return found
