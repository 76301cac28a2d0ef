"""What cannot be retained is refused, and shipped networks are sliced."""

from __future__ import annotations

import random

import pytest
import torch
from tests.slicing.random_networks import random_tensors

from modpm.core.errors import ModpmError
from modpm.core.graph import Graph, build, count, trace
from modpm.core.networks import ARCHITECTURES, create
from modpm.core.slicing import mask_network, placements, slice_graph

SMALL = trace(create("digits_cnn", 10, in_channels=1, width=0.25), torch.zeros(1, 1, 8, 8))


def a_convolution(graph: Graph) -> tuple[str, int]:
    return next(iter(graph.kernels().items()))


@pytest.mark.parametrize("bad", [[-1], [10**6], [0, 0], [True], ["0"]])
def test_kernels_that_are_not_there_are_refused(bad: list[int]) -> None:
    graph, tensors = SMALL
    conv, _ = a_convolution(graph)
    for refuse in (slice_graph, mask_network):
        with pytest.raises(ModpmError) as refusal:
            refuse(graph, tensors, {conv: bad})
        assert refusal.value.code == "bad-retained-kernels"
        assert refusal.value.where == conv
    with pytest.raises(ModpmError):
        placements(graph, {conv: bad})


def test_a_name_of_no_convolution_is_refused() -> None:
    with pytest.raises(ModpmError, match="no convolution") as refusal:
        slice_graph(*SMALL, {"nothing": [0]})
    assert refusal.value.code == "bad-retained-kernels"


@pytest.mark.parametrize("bad", [[], [10], [-1], [1, 1]])
def test_outputs_that_are_not_there_are_refused(bad: list[int]) -> None:
    with pytest.raises(ModpmError) as refusal:
        slice_graph(*SMALL, {}, bad)
    assert refusal.value.code == "bad-outputs"


def test_the_order_of_retained_kernels_does_not_matter() -> None:
    graph, tensors = SMALL
    conv, _ = a_convolution(graph)
    one, two = (slice_graph(graph, tensors, {conv: kernels}) for kernels in ([0, 2], [2, 0]))
    assert one[0] == two[0]
    assert all(torch.equal(one[1][name], two[1][name]) for name in one[1])


@pytest.mark.parametrize("arch", sorted(ARCHITECTURES))
def test_shipped_networks_sliced_equal_themselves_masked(arch: str) -> None:
    size, channels = (8, 1) if arch == "digits_cnn" else (32, 3)
    network = create(arch, 10, in_channels=channels, width=0.125)
    graph, _ = trace(network, torch.zeros(1, channels, size, size))
    tensors = random_tensors(graph, 0)
    chosen = random.Random(0)  # noqa: S311 - no secret
    x = torch.randn(2, channels, size, size, dtype=torch.double)
    for share in (1.0, 0.5, 0.0):
        retained = {
            conv: sorted(chosen.sample(range(n), round(n * share)))
            for conv, n in graph.kernels().items()
            if share in {0.0, 1.0} or chosen.random() < 0.8
        }
        sliced = slice_graph(graph, tensors, retained)
        with torch.no_grad():
            found = build(*sliced).eval()(x)
            expected = mask_network(graph, tensors, retained).eval()(x)
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
        if share == 1.0:
            assert torch.equal(found, expected)
            assert all(torch.equal(sliced[1][name], tensors[name]) for name in tensors)
        else:
            cost, whole = count(*sliced), count(graph, tensors)
            assert cost.macs < whole.macs
            assert cost.n_parameters < whole.n_parameters
            assert cost.size_bytes < whole.size_bytes
