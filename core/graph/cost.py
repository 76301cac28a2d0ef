"""What a network costs: parameters, multiply-accumulates and bytes, counted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modpm.core.estimating.cost import CONSTANT_ROLES, Cost
from modpm.core.graph.operators.table import OPERATORS
from modpm.core.graph.shapes import infer_shapes, tensor_shapes
from modpm.core.graph.stored_weights import stored

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from modpm.core.formats.network_graph import Graph


def count(graph: Graph, tensors: Mapping[str, Tensor]) -> Cost:
    """Count what a network costs.

    Args:
        graph: A valid graph.
        tensors: Its tensors; tensors that the graph does not name are not counted.

    Raises:
        ModpmError: The graph is invalid (`invalid-graph`).
    """
    names = set(tensor_shapes(graph))
    written = stored(graph, {name: tensors[name] for name in names})
    constants = {
        name
        for node in graph.nodes
        for role, name in node.tensors.items()
        if role in CONSTANT_ROLES
    }
    return Cost(
        n_parameters=sum(tensors[name].numel() for name in names - constants),
        macs=count_macs(graph),
        size_bytes=sum(tensor.nbytes for tensor in written.values()),
    )


def count_macs(graph: Graph) -> int:
    """Count the multiply-accumulates of convolutions and linear layers for one image."""
    shapes = infer_shapes(graph)
    return sum(
        OPERATORS[node.operator].macs(
            node, [shapes[name] for name in node.inputs], shapes[node.name]
        )
        for node in graph.nodes
    )
