"""What follows kernels channel by channel, and what sizes of modules are shares of."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from modpm.core.graph import Graph, build, trace
from modpm.core.modularizing.cutting import kernel_retention_rate, retained_kernels
from modpm.core.networks import create
from modpm.core.slicing import (
    cuttable_convolutions,
    following,
    own_convolutions,
    own_kernels,
    slice_graph,
)
from modpm.core.training.evidence import Cutoff, Ranking


class Mobile(nn.Module):
    """A stem with a depthwise layer behind it, and two pointwise ones with theirs."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 16, 3, padding=1)
        self.depthwise = nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.wide = nn.Conv2d(16, 64, 1)
        self.norm = nn.BatchNorm2d(64)
        self.first = nn.Conv2d(64, 64, 3, padding=1, groups=64, bias=False)
        self.narrow = nn.Conv2d(64, 32, 1)
        self.second = nn.Conv2d(32, 32, 3, padding=1, groups=32, bias=False)
        self.third = nn.Conv2d(32, 32, 3, padding=1, groups=32, bias=False)
        self.classifier = nn.Linear(32, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.depthwise(torch.relu(self.stem(x))))
        x = nn.functional.relu6(self.first(torch.relu(self.norm(self.wide(x)))))
        x = self.narrow(x)
        x = x * 0.5 + self.second(torch.nn.functional.silu(x))
        logits: Tensor = self.classifier(self.third(x).mean((2, 3)))
        return logits


def mobile() -> tuple[Graph, dict[str, Tensor]]:
    torch.manual_seed(0)
    return trace(Mobile(), torch.zeros(2, 1, 8, 8))


def test_nodes_of_the_same_channels_follow_up_to_what_mixes_them() -> None:
    graph, _ = mobile()
    behind_wide = [node.name for node in following(graph, "norm")]
    assert [name for name in behind_wide if name in graph.kernels()] == ["first"]
    behind_narrow = list(following(graph, "narrow"))
    assert {node.name for node in behind_narrow} >= {"second", "third"}
    assert "add" in {node.operator for node in behind_narrow}
    assert "linear" not in {node.operator for node in behind_narrow}


def test_depthwise_kernels_behind_those_that_can_be_cut_are_not_the_networks_own() -> None:
    graph, _ = mobile()
    assert set(cuttable_convolutions(graph)) == {"wide", "narrow"}
    assert own_kernels(graph) == 16 + 16 + 64 + 32


@pytest.mark.parametrize("arch", ["resnet20", "small_vgg"])
def test_without_depthwise_convolutions_all_kernels_are(arch: str) -> None:
    graph, _ = trace(create(arch, 10, 3, 0.25), torch.zeros(2, 3, 32, 32))
    assert own_kernels(graph) == sum(graph.kernels().values())


@pytest.mark.parametrize("rate", [0.5, 0.75])
def test_a_module_of_a_depthwise_network_is_as_large_as_it_is_asked_to_be(rate: float) -> None:
    graph, tensors = mobile()
    sizes = {conv: graph.kernels()[conv] for conv in cuttable_convolutions(graph)}
    places = {conv: torch.rand(3, n).argsort(1) for conv, n in sizes.items()}
    masks = Ranking(places, own_kernels(graph)).masks(Cutoff(retention=rate))
    retained = {conv: mask[0].nonzero()[:, 0].tolist() for conv, mask in masks.items()}
    assert all(len(kernels) >= 8 for kernels in retained.values())
    sliced, cut = slice_graph(graph, tensors, retained, [0])
    kept = sliced.kernels()
    assert kept["first"] == kept["wide"] == len(retained["wide"])
    assert kept["second"] == kept["third"] == kept["narrow"] == len(retained["narrow"])
    own = sum(kept.values()) - kept["first"] - kept["second"] - kept["third"]
    assert own <= rate * own_kernels(graph)
    found = retained_kernels(masks, 0, graph.kernels())
    told = kernel_retention_rate(found, own_convolutions(graph))
    assert told == pytest.approx(own / own_kernels(graph))
    assert build(sliced, cut).eval()(torch.randn(2, 1, 8, 8)).shape == (2, 1)
