"""Shapes of every value and tensor of a graph, and the check that a graph makes sense.

Source: `specs/graph.md`.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, NoReturn

from modpm.core.errors import ModpmError
from modpm.core.graph.attributes import LARGEST_INTEGER
from modpm.core.graph.operators.definition import Operator, Shape, ShapeError, layer_name
from modpm.core.graph.operators.table import OPERATORS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from modpm.core.formats.network_graph import Graph, Node

LARGEST_GRAPH = 10_000
"""How many nodes a graph may have (G-12)."""

LARGEST_VALUE = 2**26
"""How many numbers one node may make of one image (G-12)."""

LARGEST_TOTAL = 2**31
"""How many numbers all nodes together may make of one image (G-12)."""

LARGEST_NAME = 256
"""How many characters a name may have (G-3)."""

_NAME = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*")


def invalid(where: str, why: str) -> NoReturn:
    """Refuse a graph.

    Raises:
        ModpmError: Always (`invalid-graph`).
    """
    raise ModpmError("the network graph is invalid", code="invalid-graph", where=where, why=why)


def infer_shapes(graph: Graph) -> dict[str, Shape]:
    """Check a graph without its tensors and return the shape of every value, for one image.

    Returns:
        The graph's input and every node, in order: (C, H, W) for images, (F,) for vectors.

    Raises:
        ModpmError: The graph breaks a clause of `specs/graph.md` (`invalid-graph`).
    """
    _check_graph(graph)
    shapes: dict[str, Shape] = {graph.input: graph.input_shape}
    for node in graph.nodes:
        where = f"node {node.name!r}"
        _check_name(node.name, where)
        if node.name in shapes:
            invalid(where, "another value has that name")
        shapes[node.name] = _output_shape(node, shapes, where)
    if sum(math.prod(shape) for shape in shapes.values()) > LARGEST_TOTAL:
        invalid("nodes", f"their values have more than {LARGEST_TOTAL} numbers together")
    if graph.output not in shapes:
        invalid("output", f"there is no node {graph.output!r}")
    return shapes


def tensor_shapes(graph: Graph, shapes: Mapping[str, Shape] | None = None) -> dict[str, Shape]:
    """Return the shape that every tensor of a valid graph must have, by tensor name.

    Args:
        graph: A graph.
        shapes: What `infer_shapes` returns for it, where it is known already.

    Raises:
        ModpmError: Two nodes share a tensor of differing shapes, or the graph is invalid.
    """
    shapes = infer_shapes(graph) if shapes is None else shapes
    tensors: dict[str, Shape] = {}
    for node in graph.nodes:
        inputs = [shapes[name] for name in node.inputs]
        needed = OPERATORS[node.operator].tensor_shapes(node, inputs)
        for role, name in node.tensors.items():
            if tensors.setdefault(name, needed[role]) != needed[role]:
                invalid(f"node {node.name!r}", f"another node needs {name!r} in another shape")
    return tensors


def check_tensors(graph: Graph, tensors: Mapping[str, Tensor]) -> None:
    """Check that a graph has exactly the tensors that it names, in their shapes.

    Raises:
        ModpmError: It has not, or the graph is invalid (`invalid-graph`).
    """
    needed = tensor_shapes(graph)
    for name, shape in needed.items():
        if name not in tensors:
            invalid(f"tensor {name!r}", "there is none of that name")
        if tuple(tensors[name].shape) != shape:
            invalid(f"tensor {name!r}", f"its shape is {tuple(tensors[name].shape)}, not {shape}")
    if len({tensors[name].dtype for name in needed}) > 1:
        invalid("tensors", "they are not all of one type of number")
    for name in needed:
        if not tensors[name].is_floating_point():
            invalid(
                f"tensor {name!r}", f"it holds {tensors[name].dtype}, not floating-point numbers"
            )


def _check_graph(graph: Graph) -> None:
    _check_name(graph.input, "input")
    if len(graph.nodes) > LARGEST_GRAPH:
        invalid("nodes", f"{len(graph.nodes)} are more than {LARGEST_GRAPH}")
    if not all(1 <= size <= LARGEST_INTEGER for size in graph.input_shape):
        invalid("input_shape", f"{graph.input_shape} is not of positive sizes")
    if math.prod(graph.input_shape) > LARGEST_VALUE:
        invalid("input_shape", f"{graph.input_shape} is too large")
    _check_layers(graph)


def _check_name(name: str, where: str) -> None:
    if len(name) > LARGEST_NAME or not _NAME.fullmatch(name):
        invalid(where, f"{name!r} is not a name: letters, digits, `_`, parts joined by dots")


def _output_shape(node: Node, shapes: Mapping[str, Shape], where: str) -> Shape:
    operator = OPERATORS.get(node.operator)
    if operator is None:
        invalid(where, f"there is no operator {node.operator!r}")
    missing = [name for name in node.inputs if name not in shapes]
    if missing:
        invalid(where, f"its input {missing[0]!r} is no earlier node")
    _check_form(node, operator, where)
    try:
        shape = operator.output_shape(node, [shapes[name] for name in node.inputs])
    except ShapeError as error:
        invalid(where, str(error))
    if math.prod(shape) > LARGEST_VALUE:
        invalid(where, f"its value of shape {shape} is too large")
    return shape


def _check_form(node: Node, operator: Operator, where: str) -> None:
    if not node.inputs or operator.n_inputs not in (None, len(node.inputs)):
        invalid(where, f"{node.operator} does not take {len(node.inputs)} inputs")
    if set(node.attributes) != set(operator.attributes):
        expected = ", ".join(sorted(operator.attributes)) or "none"
        invalid(where, f"{node.operator} takes these attributes: {expected}")
    for name, attribute in operator.attributes.items():
        if complaint := attribute(node.attributes[name]):
            invalid(where, f"{name}: {complaint}")
    roles = set(node.tensors)
    if not set(operator.required) <= roles <= {*operator.required, *operator.optional}:
        known = ", ".join((*operator.required, *operator.optional)) or "none"
        invalid(where, f"{node.operator} takes these tensors: {known}")


def _check_layers(graph: Graph) -> None:
    """Check that tensors are named `<layer>.<role>` and equal layers are equal (G-5, G-6)."""
    layers: dict[str, Node] = {}
    for node in graph.nodes:
        layer, where = layer_name(node), f"node {node.name!r}"
        _check_name(layer, where)
        if any(name != f"{layer}.{role}" for role, name in node.tensors.items()):
            invalid(where, "its tensors are not all named `<layer>.<role>` for one layer")
        other = layers.setdefault(layer, node)
        if other is not node and not (node.tensors and _are_one_layer(node, other)):
            invalid(where, f"node {other.name!r} has another layer of the name {layer!r}")
    for name in {name for node in graph.nodes for name in node.tensors.values()}:
        if name in layers:
            invalid(f"tensor {name!r}", "a layer has that name")


def _are_one_layer(node: Node, other: Node) -> bool:
    return (node.operator, node.attributes, node.tensors) == (
        other.operator,
        other.attributes,
        other.tensors,
    )
