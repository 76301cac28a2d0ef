"""Networks of many styles are traced, executed and sliced."""

from __future__ import annotations

import random

import msgspec
import pytest
import torch
from tests.graph.zoo import ZOO, create, images, traced

from modpm.core.graph import Graph, build, count
from modpm.core.slicing import mask_network, slice_graph


def logits_of(output: object) -> torch.Tensor:
    if isinstance(output, dict):
        output = output["logits"]
    output = output[0] if isinstance(output, tuple) else getattr(output, "logits", output)
    assert isinstance(output, torch.Tensor)
    return output


@pytest.mark.parametrize("name", ZOO)
def test_a_traced_network_computes_what_the_network_does(name: str) -> None:
    network = create(name)
    graph, tensors = traced(name)
    with torch.no_grad():
        expected = logits_of(network(images()))
        found = build(graph, tensors).eval()(images())
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ZOO)
def test_a_traced_graph_survives_its_json(name: str) -> None:
    graph, _ = traced(name)
    assert msgspec.json.decode(msgspec.json.encode(graph), type=Graph) == graph


@pytest.mark.parametrize("share", [0.5, 0.0])
@pytest.mark.parametrize("name", ZOO)
def test_a_sliced_network_equals_the_masked_network(name: str, share: float) -> None:
    graph, tensors = traced(name)
    chosen = random.Random(0)  # noqa: S311 - no secret
    for _ in range(3):
        retained = {
            conv: sorted(chosen.sample(range(size), round(size * share)))
            for conv, size in graph.kernels().items()
            if chosen.random() < 0.7
        }
        sliced = slice_graph(graph, tensors, retained)
        with torch.no_grad():
            expected = mask_network(graph, tensors, retained).eval()(images())
            found = build(*sliced).eval()(images())
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
        assert count(*sliced).macs <= count(graph, tensors).macs
