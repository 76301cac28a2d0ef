"""Networks of equal shapes as one: what each gives alone, in far fewer calls."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn

from modpm.core.formats.network_graph import Graph, Node
from modpm.core.graph import build, trace
from modpm.core.graph.cost import count
from modpm.core.graph.grouping import group
from modpm.core.graph.side_by_side import PlainNetwork
from modpm.core.modularizing.cutting import cut
from modpm.core.networks import create
from modpm.core.slicing import cuttable_convolutions
from modpm.core.training.evidence import Cutoff, Importance

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

# float32, and sums in another order
assert_near = partial(torch.testing.assert_close, rtol=1e-4, atol=1e-4)


class Branching(nn.Module):
    """Concatenates, gates its channels, and is depthwise in part."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.left = nn.Conv2d(8, 8, 3, padding=1)
        self.right = nn.Conv2d(8, 8, 1)
        self.depthwise = nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.gate = nn.Linear(16, 16)
        self.last = nn.Linear(16, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x).relu()
        x = torch.cat([self.left(x), self.right(x).relu()], 1)
        x = nn.functional.silu(self.depthwise(x))
        x = x * self.gate(x.mean((2, 3))).sigmoid()[:, :, None, None]
        logits: torch.Tensor = self.last(x.mean((2, 3)))
        return logits


def cut_networks(network: nn.Module, retention: float, size: int = 16) -> list[PlainNetwork]:
    """Return networks of four classes, with kernels of chance, equally many for each."""
    torch.manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean = torch.rand(module.num_features) - 0.5
            module.running_var = torch.rand(module.num_features) + 0.5
    graph, tensors = trace(network.eval(), torch.randn(2, 3, size, size))
    kernels = graph.kernels()
    tables = {name: torch.rand(4, kernels[name]) for name in cuttable_convolutions(graph)}
    masks = Importance(tables, sum(kernels.values())).masks(Cutoff(retention=retention))
    some = (cut(graph, tensors, masks, class_index) for class_index in range(4))
    return [PlainNetwork(one.graph, one.tensors) for one in some]


def outputs_of(networks: Sequence[PlainNetwork], images: Tensor) -> Tensor:
    """Return what networks give, each by itself."""
    return torch.cat([build(one.graph, one.tensors).eval()(images) for one in networks], 1)


@pytest.mark.parametrize(
    ("network", "retention"),
    [
        (partial(create, "small_vgg", 4, 3), 0.32),
        (Branching, 0.6),
    ],
)
@torch.inference_mode()
def test_grouped_networks_give_what_each_gives_alone(
    network: partial[nn.Module], retention: float
) -> None:
    networks = cut_networks(network(), retention)
    images = torch.randn(3, 3, 16, 16)
    together = group(networks)
    assert_near(
        build(together.graph, together.tensors).eval()(images), outputs_of(networks, images)
    )
    longest = max(len(one.graph.nodes) for one in networks)
    assert len(together.graph.nodes) < 1.5 * longest
    costs = [count(one.graph, dict(one.tensors)) for one in networks]
    whole = count(together.graph, dict(together.tensors))
    assert whole.macs < sum(cost.macs for cost in costs)


@torch.inference_mode()
def test_what_networks_share_goes_into_sums_with_what_they_do_not() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    graph, tensors = trace(network.eval(), torch.randn(2, 3, 16, 16))
    score = Node("own", "linear", (graph.output,), {"n_features": 4}, {"weight": "own.weight"})
    total = Node("total", "sub", ("own", graph.output))
    whole = Graph(graph.input, graph.input_shape, (*graph.nodes, score, total), "total")
    networks = [PlainNetwork(whole, {**tensors, "own.weight": torch.rand(4, 4)}) for _ in range(3)]
    images = torch.randn(3, 3, 16, 16)
    together = group(networks)
    assert_near(
        build(together.graph, together.tensors).eval()(images), outputs_of(networks, images)
    )
    assert len(together.graph.kernels()) == 1
    assert len(together.graph.nodes) < 2 * len(whole.nodes)


@torch.inference_mode()
def test_networks_of_other_shapes_are_grouped_apart_and_keep_their_places() -> None:
    network = create("small_vgg", 4, 3)
    small, large = (cut_networks(network, retention) for retention in (0.32, 0.5))
    networks = [small[0], large[1], small[2], large[3]]
    images = torch.randn(3, 3, 16, 16)
    together = group(networks)
    assert_near(
        build(together.graph, together.tensors).eval()(images), outputs_of(networks, images)
    )
    linear = 2  # each of two layers is a convolution of one pixel
    n_convolutions = len(small[0].graph.kernels())
    assert len(together.graph.kernels()) < 2 * n_convolutions + linear


@torch.inference_mode()
def test_residual_networks_of_other_sums_stay_side_by_side() -> None:
    networks = cut_networks(create("resnet20", 4, 3), 0.5)
    images = torch.randn(3, 3, 16, 16)
    together = group(networks)
    assert_near(
        build(together.graph, together.tensors).eval()(images), outputs_of(networks, images)
    )
    assert len(together.graph.nodes) < sum(len(one.graph.nodes) for one in networks)


@torch.inference_mode()
def test_what_cannot_be_grouped_stays_side_by_side() -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.GroupNorm(2, 8),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 1),
    )
    graph, tensors = trace(network.eval(), torch.randn(2, 3, 16, 16))
    networks = [
        PlainNetwork(graph, {name: tensor + i for name, tensor in tensors.items()})
        for i in range(3)
    ]
    images = torch.randn(3, 3, 16, 16)
    together = group(networks)
    found = build(together.graph, together.tensors).eval()(images)
    assert torch.equal(found, outputs_of(networks, images))
    assert len(together.graph.nodes) == 3 * len(graph.nodes) + 1
