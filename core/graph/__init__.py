"""Networks as data: traced from users' code, checked, executed and counted."""

from modpm.core.estimating.cost import Cost
from modpm.core.formats.network_graph import Graph, Node
from modpm.core.graph.cost import count
from modpm.core.graph.interpreter import GraphNetwork, build
from modpm.core.graph.shapes import infer_shapes, tensor_shapes
from modpm.core.graph.tracing import Trace, read_network, trace

__all__ = [
    "Cost",
    "Graph",
    "GraphNetwork",
    "Node",
    "Trace",
    "build",
    "count",
    "infer_shapes",
    "read_network",
    "tensor_shapes",
    "trace",
]
