"""What is counted of a graph is what its network does, and has the sizes that it checks."""

from __future__ import annotations

import msgspec
import pytest
import torch
from tests.graph.zoo import traced

from modpm.core.errors import ModpmError
from modpm.core.estimating import sizes
from modpm.core.estimating.sizes import value_sizes
from modpm.core.estimating.work import BATCH_SIZES, kinds, works
from modpm.core.formats.network_graph import AttributeValue, Graph, Node
from modpm.core.graph import build, infer_shapes
from modpm.core.graph.cost import count_macs

TRIED = (
    "mobilenet_v2", "senet", "shufflenet_v2", "resnext", "preactivation", "padded_shortcut",
    "poolings", "global_poolings", "activations", "arithmetic", "shared", "convolution_only",
    "layer_norm", "vector_norm", "maxout", "selective_kernels", "pixels",
)  # fmt: skip
"""Networks that have, together, nearly all operators."""


def images(graph: Graph) -> torch.Tensor:
    return torch.rand(2, *graph.input_shape)


@pytest.mark.parametrize("name", TRIED)
def test_sizes_and_steps_are_those_of_the_network(name: str) -> None:
    graph, tensors = traced(name)
    assert value_sizes(graph) == infer_shapes(graph)
    network = build(graph, tensors).eval().float()
    with torch.inference_mode():
        network.predict(images(graph))
    assert network._folded is not None
    (plan,) = network._folded.network._plans.values()
    steps = works(graph, 2)[1:]
    assert len(steps) == len(plan)
    folded = network._folded.network.graph
    assert sum(step.times * step.n_inputs * step.n_outputs for step in steps) == 2 * (
        count_macs(msgspec.structs.replace(folded, nodes=_live(folded)))
    )


def _live(graph: Graph) -> tuple[Node, ...]:
    live = graph.live()
    return tuple(node for node in graph.nodes if node.name in live)


def test_all_operators_of_other_sizes_are_tried() -> None:
    tried = {node.operator for name in TRIED for node in traced(name)[0].nodes}
    assert set(sizes._RULES) - tried == {"constant"}
    node = Node("constant", "constant", ("image",), {"shape": [4, 2, 3]}, {})
    graph = Graph("image", (3, 8, 8), (node,), "constant")
    assert value_sizes(graph) == infer_shapes(graph)


def test_every_step_is_of_a_kind_that_is_measured() -> None:
    for size in BATCH_SIZES:
        found = {step.kind for name in TRIED for step in works(traced(name)[0], size)}
        assert found <= kinds(size)


_CONV: dict[str, AttributeValue] = {
    "n_kernels": 4,
    "kernel_size": [3, 3],
    "stride": [1, 1],
    "padding": [1, 1],
    "dilation": [1, 1],
    "groups": 1,
}


@pytest.mark.parametrize(
    "node",
    [
        Node("conv", "conv2d", ("image",), {"n_kernels": 4}),
        Node("conv", "conv2d", ("image",), dict.fromkeys(("kernel_size", "stride"), 1)),
        Node("conv", "conv2d", ("image",), _CONV | {"groups": 0}),
        Node("conv", "conv2d", ("image",), _CONV | {"groups": 2}),
        Node("conv", "conv2d", ("image",), _CONV | {"kernel_size": 3}),
        Node("linear", "linear", ("flat",), {"n_features": "many"}),
        Node("linear", "linear", ("image",), {"n_features": 3}),
        Node("constant", "constant", (), {"shape": [3, 1, 1]}),
        Node("relu", "relu", ("nothing",)),
        Node("unflatten", "unflatten", ("image",), {"shape": 3}),
    ],
    ids=lambda node: f"{node.operator} {node.attributes}",
)
def test_a_graph_without_sizes_is_refused(node: Node) -> None:
    flat = Node("flat", "flatten", ("image",))
    with pytest.raises(ModpmError, match="graph is invalid") as caught:
        works(Graph("image", (3, 8, 8), (flat, node), node.name), 1)
    assert caught.value.code == "invalid-graph"


def test_a_view_takes_the_same_time_however_large_its_value_is() -> None:
    flat = Node("flat", "flatten", ("image",))
    small, large = (Graph("image", (3, side, side), (flat,), "flat") for side in (2, 64))
    assert works(small, 1) == works(large, 1)
