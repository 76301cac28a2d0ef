"""Graphs of strangers: whatever breaks a clause of specs/graph.md is refused, and named."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.graph.zoo import CONV, create, images

from modpm.core.errors import ModpmError
from modpm.core.formats.records import convert
from modpm.core.graph import (
    Graph,
    GraphNetwork,
    Node,
    build,
    count,
    infer_shapes,
    tensor_shapes,
    trace,
)
from modpm.core.graph.operators.table import OPERATORS

if TYPE_CHECKING:
    from pathlib import Path

    from modpm.core.formats.network_graph import AttributeValue

TENSORS = {"weight": "conv.weight", "bias": "conv.bias"}


def conv(**attributes: AttributeValue) -> Node:
    return Node("conv", "conv2d", ("x",), {**CONV, **attributes}, TENSORS)


def graph_of(*nodes: Node, output: str = "", shape: tuple[int, int, int] = (3, 8, 8)) -> Graph:
    return Graph("x", shape, nodes, output or (nodes[-1].name if nodes else "x"))


def relu(name: str, source: str) -> Node:
    return Node(name, "relu", (source,))


FLATTEN = Node("flat", "flatten", ("x",))

BROKEN: dict[str, tuple[Graph, str, str]] = {
    # what breaks it: the graph, where, why
    "an unknown operator": (graph_of(Node("a", "exec", ("x",))), "'a'", "no operator 'exec'"),
    "a missing input": (graph_of(relu("a", "b")), "'a'", "no earlier node"),
    "a later input": (graph_of(relu("a", "b"), relu("b", "x")), "'a'", "no earlier node"),
    "itself as input": (graph_of(relu("a", "a")), "'a'", "no earlier node"),
    "no input": (graph_of(Node("a", "relu", ())), "'a'", "0 inputs"),
    "two inputs of relu": (graph_of(Node("a", "relu", ("x", "x"))), "'a'", "2 inputs"),
    "one input of add": (graph_of(Node("a", "add", ("x",))), "'a'", "1 inputs"),
    "a name twice": (graph_of(relu("a", "x"), relu("a", "x")), "'a'", "another"),
    "the input's name": (graph_of(relu("x", "x")), "'x'", "has that name"),
    "a path as a name": (graph_of(relu("../a", "x")), "'../a'", "not a name"),
    "an empty name": (graph_of(relu("", "x")), "''", "not a name"),
    "an empty part of a name": (graph_of(relu("a..b", "x")), "'a..b'", "not a name"),
    "a long name": (graph_of(relu("a" * 257, "x")), "aaa", "not a name"),
    "a name with a newline": (graph_of(relu("a\n", "x")), "'a", "not a name"),
    "no such output": (graph_of(relu("a", "x"), output="b"), "output", "no node 'b'"),
    "a missing attribute": (graph_of(Node("a", "leaky_relu", ("x",))), "'a'", "negative_slope"),
    "an unknown attribute": (graph_of(Node("a", "relu", ("x",), {"f": 1})), "'a'", "none"),
    "no kernels": (graph_of(conv(n_kernels=0)), "'conv'", "n_kernels: 0"),
    "a flag for a number": (graph_of(conv(n_kernels=True)), "'conv'", "not an integer"),
    "a fraction for a count": (graph_of(conv(n_kernels=4.0)), "'conv'", "not an integer"),
    "a number for a pair": (graph_of(conv(stride=1)), "'conv'", "not a list"),
    "three numbers for a pair": (graph_of(conv(stride=[1, 1, 1])), "'conv'", "a list of 3"),
    "a huge count": (graph_of(conv(n_kernels=2**40)), "'conv'", "not between"),
    "a stride of zero": (graph_of(conv(stride=[0, 1])), "'conv'", "not between"),
    "groups that do not divide": (graph_of(conv(groups=2)), "'conv'", "groups"),
    "a window that does not fit": (graph_of(conv(kernel_size=[11, 3])), "'conv'", "does not fit"),
    "a number that is not finite": (
        graph_of(Node("a", "add_scalar", ("x",), {"value": float("nan")})), "'a'", "not between",
    ),
    "a value too large": (
        graph_of(conv(n_kernels=2**20), shape=(3, 64, 64)), "'conv'", "too large",
    ),
    "an image too large": (graph_of(relu("a", "x"), shape=(3, 2**20, 2**20)), "input", "too large"),
    "an image of no pixels": (graph_of(relu("a", "x"), shape=(3, 0, 8)), "input", "positive"),
    "a vector convolved": (
        graph_of(FLATTEN, Node("conv", "conv2d", ("flat",), CONV, TENSORS)), "'conv'", "(C, H, W)",
    ),
    "an image in a linear layer": (
        graph_of(Node("a", "linear", ("x",), {"n_features": 2}, {"weight": "a.weight"})),
        "'a'", "(F,)",
    ),
    "shapes that do not add": (
        graph_of(conv(stride=[2, 2]), Node("a", "add", ("conv", "x"))), "'a'", "broadcast",
    ),
    "shapes that do not join": (
        graph_of(conv(stride=[2, 2]), Node("a", "cat", ("conv", "x"))), "'a'", "differ",
    ),
    "a channel that is not there": (
        graph_of(Node("a", "select_channels", ("x",), {"indices": [3]})), "'a'", "outside",
    ),
    "no channel": (graph_of(Node("a", "select_channels", ("x",), {"indices": []})), "'a'", "0"),
    "a negative channel": (
        graph_of(Node("a", "select_channels", ("x",), {"indices": [-1]})), "'a'", "not between",
    ),
    "two channels in one place": (
        graph_of(Node("a", "scatter_channels", ("x",), {"indices": [0, 1, 1], "n_channels": 4})),
        "'a'", "distinct",
    ),
    "a pixel that is not there": (
        graph_of(Node("a", "subsample", ("x",), {"start": [0, 6], "step": [1, 2], "size": [8, 2]})),
        "'a'", "outside",
    ),
    "features that do not fill": (
        graph_of(FLATTEN, Node("a", "unflatten", ("flat",), {"shape": [3, 8, 9]})), "'a'", "fill",
    ),
    "a constant of two dimensions": (
        graph_of(Node("a", "constant", ("x",), {"shape": [3, 8]})), "'a'", "neither",
    ),
    "a missing tensor role": (graph_of(Node("conv", "conv2d", ("x",), CONV)), "'conv'", "weight"),
    "an unknown tensor role": (
        graph_of(Node("a", "relu", ("x",), {}, {"code": "a.code"})), "'a'", "none",
    ),
    "a tensor of another layer": (
        graph_of(Node("conv", "conv2d", ("x",), CONV, {"weight": "conv.weight", "bias": "b.bias"})),
        "'conv'", "one layer",
    ),
    "one layer with two meanings": (
        graph_of(conv(), Node("a", "conv2d", ("x",), {**CONV, "stride": [2, 2]}, TENSORS)),
        "'a'", "another layer",
    ),
    "a layer with a tensor's name": (
        graph_of(conv(), relu("conv.weight", "conv")), "conv.weight", "a layer has that name",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", BROKEN)
def test_a_graph_is_refused_for(fault: str) -> None:
    graph, where, why = BROKEN[fault]
    with pytest.raises(ModpmError) as refusal:
        tensor_shapes(graph)
    error = refusal.value
    assert error.code == "invalid-graph"
    assert where in str(error.where)
    assert why in str(error.why)


def test_a_graph_of_too_many_nodes_is_refused() -> None:
    nodes = [relu(f"n{i + 1}", f"n{i}" if i else "x") for i in range(10_001)]
    with pytest.raises(ModpmError, match="more than 10000"):
        infer_shapes(graph_of(*nodes))


def test_values_that_are_too_large_together_are_refused() -> None:
    nodes = [relu(f"n{i}", "x") for i in range(40)]
    with pytest.raises(ModpmError, match="together"):
        infer_shapes(graph_of(*nodes, shape=(1, 2**13, 2**13)))


@pytest.mark.parametrize(
    ("tensors", "why"),
    [
        ({"conv.weight": torch.zeros(4, 3, 3, 3)}, "none of that name"),
        ({"conv.weight": torch.zeros(4, 3, 3), "conv.bias": torch.zeros(4)}, "its shape is"),
        ({"conv.weight": torch.zeros(4, 3, 3, 3), "conv.bias": torch.zeros(4).double()}, "type"),
        (
            {
                "conv.weight": torch.zeros(4, 3, 3, 3, dtype=torch.long),
                "conv.bias": torch.zeros(4, dtype=torch.long),
            },
            "floating",
        ),
    ],
)
def test_tensors_that_do_not_fit_are_refused(tensors: dict[str, torch.Tensor], why: str) -> None:
    with pytest.raises(ModpmError, match=why) as refusal:
        build(graph_of(conv()), tensors)
    assert refusal.value.code == "invalid-graph"


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_graph_with_any_one_thing_changed_is_refused_or_runs(data: st.DataObject) -> None:
    graph, _tensors = TRACED
    place = data.draw(st.integers(0, len(graph.nodes) - 1), label="node")
    node = msgspec.to_builtins(graph.nodes[place])
    key = data.draw(st.sampled_from(sorted(node.get("attributes", {})) or ["name"]), label="key")
    st.integers(-1, 9)
    value = data.draw(
        st.one_of(
            st.integers(-1, 9), st.booleans(), st.floats(), st.lists(st.integers(-1, 9), max_size=4)
        ),
        label="value",
    )
    if key == "name":
        node["inputs"] = ["input"] * data.draw(st.integers(0, 3))
    else:
        node["attributes"][key] = value
    nodes = [*graph.nodes]
    nodes[place] = convert(node, Node)
    changed = Graph(graph.input, graph.input_shape, tuple(nodes), graph.output)
    network = built_or_refused(changed)
    if network is not None:
        with torch.no_grad():
            found = network.eval()(images(2))
        assert tuple(found.shape[1:]) == infer_shapes(changed)[changed.output]


def built_or_refused(graph: Graph) -> GraphNetwork | None:
    """Build a graph that is fit; any error but a refusal fails the test."""
    try:
        return build(graph, TRACED[1])
    except ModpmError as refusal:
        if refusal.code != "invalid-graph":
            raise
        return None


TRACED = trace(create("poolings"), images(1))


def test_a_json_graph_with_an_unknown_key_is_refused() -> None:
    text = b'{"input":"x","input_shape":[3,8,8],"nodes":[],"output":"x","code":"import os"}'
    with pytest.raises(msgspec.ValidationError, match="unknown field"):
        msgspec.json.decode(text, type=Graph)


def test_the_shapes_that_are_inferred_are_those_of_the_values() -> None:
    for name in ("poolings", "shufflenet_v2", "space_to_depth", "senet", "inception"):
        graph, tensors = trace(create(name), images(1))
        shapes = infer_shapes(graph)
        names = [node.name for node in graph.nodes]
        with torch.no_grad():
            values = build(graph, tensors).eval().run(images(2), names)
        for value in names:
            assert tuple(values[value].shape) == (2, *shapes[value])


def test_cost_is_counted() -> None:
    graph = graph_of(
        conv(),
        Node("pool", "mean", ("conv",), {"keepdim": False}),
        Node("fc", "linear", ("pool",), {"n_features": 5}, {"weight": "fc.weight"}),
    )
    tensors = {name: torch.zeros(shape) for name, shape in tensor_shapes(graph).items()}
    cost = count(graph, tensors)
    assert cost.n_parameters == 4 * 3 * 9 + 4 + 20
    assert cost.macs == 4 * 3 * 9 * 64 + 20
    assert cost.size_bytes == 4 * cost.n_parameters


def test_every_operator_is_specified_and_can_be_sliced(repository: Path) -> None:
    text = (repository / "specs" / "graph.md").read_text(encoding="utf-8")
    table = [line for line in text.splitlines() if line.startswith("| `")]
    specified = {name for line in table for name in re.findall(r"`(\w+)`", line.split("|")[1])}
    assert specified == set(OPERATORS)
    for name, operator in OPERATORS.items():
        row = next(line for line in table if f"`{name}`" in line.split("|")[1])
        for word in (*operator.attributes, *operator.required, *operator.optional):
            assert f"`{word}`" in row, (name, word)
