"""The laws of slicing, over random networks and random kernels."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.slicing.random_networks import SIZE, Network, cut_networks, networks

from modpm.core.graph import Graph, Node, build, count, infer_shapes
from modpm.core.slicing import mask_network, placements, slice_graph

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

Cut = tuple[Network, dict[str, list[int]]]

# Sums of a few hundred products in another order, in double precision.
TOLERANCE = 1e-9

lawful = settings(
    max_examples=int(os.environ.get("SLICING_EXAMPLES", "30")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    print_blob=True,
)


def images(seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(3, 3, SIZE, SIZE, generator=generator, dtype=torch.double)


def run(graph: Graph, tensors: Mapping[str, Tensor]) -> Tensor:
    with torch.no_grad():
        output: Tensor = build(graph, tensors).eval()(images())
    return output


def run_masked(network: Network, retained: Mapping[str, list[int]]) -> Tensor:
    with torch.no_grad():
        masked: Tensor = mask_network(*network, retained).eval()(images())
    return masked


def assert_equal(found: Tensor, expected: Tensor) -> None:
    scale = max(1.0, float(expected.abs().max()))
    assert found.shape == expected.shape
    torch.testing.assert_close(found, expected, rtol=TOLERANCE, atol=TOLERANCE * scale)


@lawful
@given(cut_networks())
def test_the_sliced_network_equals_the_masked_network(cut: Cut) -> None:
    network, retained = cut
    assert_equal(run(*slice_graph(*network, retained)), run_masked(network, retained))


@lawful
@given(cut_networks())
def test_a_sliced_network_costs_no_more_than_its_origin(cut: Cut) -> None:
    network, retained = cut
    origin, sliced = count(*network), count(*slice_graph(*network, retained))
    assert sliced.n_parameters <= origin.n_parameters
    assert sliced.macs <= origin.macs


def in_any_order(graph: Graph) -> dict[str, Node]:
    """Return the nodes by name: nodes that do not read each other may stand in either order."""
    return {node.name: node for node in graph.nodes}


@lawful
@given(networks())
def test_retaining_all_changes_nothing_but_rounding(network: Network) -> None:
    everything = slice_graph(*network, {})
    assert_equal(run(*everything), run(*network))


@lawful
@given(cut_networks())
def test_slicing_what_is_sliced_by_nothing_more_changes_nothing(cut: Cut) -> None:
    network, retained = cut
    once = slice_graph(*network, retained)
    twice = slice_graph(*once, {})
    assert in_any_order(twice[0]) == in_any_order(once[0])
    assert twice[0].output == once[0].output
    assert twice[0].input_shape == once[0].input_shape
    assert twice[1].keys() == once[1].keys()
    assert all(torch.equal(twice[1][name], once[1][name]) for name in once[1])


@lawful
@given(cut_networks(), st.data())
def test_a_sliced_network_can_be_sliced_again(cut: Cut, data: st.DataObject) -> None:
    network, retained = cut
    once = slice_graph(*network, retained)
    kernels = once[0].kernels()
    further = {
        name: [kernel for kernel in range(size) if data.draw(st.booleans())]
        for name, size in kernels.items()
    }
    assert_equal(run(*slice_graph(*once, further)), run_masked(once, further))


@lawful
@given(cut_networks(), st.data())
def test_the_outputs_that_are_asked_for_are_those_of_the_masked_network(
    cut: Cut, data: st.DataObject
) -> None:
    network, retained = cut
    n_outputs = infer_shapes(network[0])[network[0].output][0]
    outputs = data.draw(
        st.lists(st.integers(0, n_outputs - 1), min_size=1, unique=True), label="outputs"
    )
    sliced = slice_graph(*network, retained, outputs)
    assert_equal(run(*sliced), run_masked(network, retained)[:, outputs])


@lawful
@given(cut_networks())
def test_placements_say_where_each_tensor_lies_in_its_origin(cut: Cut) -> None:
    (graph, tensors), retained = cut
    start, distinct = 0, {}
    for name, tensor in tensors.items():
        numbers = torch.arange(start, start + tensor.numel(), dtype=torch.double)
        distinct[name] = numbers.reshape(tensor.shape)
        start += tensor.numel()
    _, sliced = slice_graph(graph, distinct, retained)
    placed = placements(graph, retained)
    for name, kept in placed.items():
        block = distinct[name]
        for dimension, indices in enumerate(kept):
            if indices is not None:
                block = block.index_select(dimension, torch.tensor(indices))
        assert torch.equal(sliced[name], block)
    assert {name.rsplit(".", 1)[1] for name in sliced.keys() - placed.keys()} <= {"offset", "fill"}


@lawful
@given(cut_networks())
def test_no_tensor_of_the_origin_is_changed(cut: Cut) -> None:
    (graph, tensors), retained = cut
    before = {name: tensor.clone() for name, tensor in tensors.items()}
    _, sliced = slice_graph(graph, tensors, retained)
    for tensor in sliced.values():
        tensor.zero_()
    assert all(torch.equal(tensors[name], before[name]) for name in before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@settings(lawful, max_examples=10)
@given(cut=cut_networks())
def test_a_sliced_network_has_its_origins_type_of_number(cut: Cut, dtype: torch.dtype) -> None:
    (graph, tensors), retained = cut
    cast = {name: tensor.to(dtype) for name, tensor in tensors.items()}
    _, sliced = slice_graph(graph, cast, retained)
    assert {tensor.dtype for tensor in sliced.values()} <= {dtype}
