"""What follows the kernels of a convolution channel by channel, and is cut as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modpm.core.graph.cutting.rules import Channelwise
from modpm.core.graph.operators.arithmetic import BinaryRule
from modpm.core.graph.operators.reshaping import IdentityRule
from modpm.core.graph.operators.table import OPERATORS
from modpm.core.graph.shapes import infer_shapes
from modpm.core.slicing.retained import cuttable_convolutions, is_depthwise

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from modpm.core.formats.network_graph import Graph, Node
    from modpm.core.graph.operators.definition import Shape

_BY_CHANNEL = (BinaryRule, Channelwise, IdentityRule)


def following(graph: Graph, name: str, shapes: Mapping[str, Shape] | None = None) -> Iterator[Node]:
    """Give, in execution order, the nodes whose channels are each made of one channel of a node.

    Args:
        graph: A network.
        name: The node that is followed: to sums with others, and through depthwise convolutions.
        shapes: Of the graph, where they are known.
    """
    shapes = infer_shapes(graph) if shapes is None else shapes
    reached, n_channels = {name}, shapes[name][0]
    for node in graph.nodes:
        is_reader = not reached.isdisjoint(node.inputs) and shapes[node.name][0] == n_channels
        if is_reader and (_is_by_channel(node) or is_depthwise(node, shapes[node.inputs[0]])):
            reached.add(node.name)
            yield node


def _is_by_channel(node: Node) -> bool:
    return isinstance(OPERATORS[node.operator].cut, _BY_CHANNEL)


def own_kernels(graph: Graph) -> int:
    """Return how many kernels a network has but for those that follow others."""
    return sum(own_convolutions(graph).values())


def own_convolutions(graph: Graph) -> dict[str, int]:
    """Return how many kernels each convolution has that does not follow another.

    Of depthwise convolutions behind one that can be cut a module keeps the share that it keeps of
    that one, so that they neither have to be kept nor can be chosen.
    """
    shapes, n_kernels = infer_shapes(graph), graph.kernels()
    cut = cuttable_convolutions(graph)
    followers = {
        node.name
        for point in cut.values()
        for node in following(graph, point, shapes)
        if node.name in n_kernels and node.name not in cut
    }
    return {name: n for name, n in n_kernels.items() if name not in followers}
