"""What a user's network keeps as it is in training is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn

from modpm.core.errors import ModpmError
from modpm.core.graph import build, read_network
from modpm.core.training.loop import train
from modpm.core.training.starting_network import starting_network

if TYPE_CHECKING:
    from pathlib import Path

    from modpm.core.training.run import Run
    from modpm.core.training.session import Progress

FROZEN = {"stem.weight", "stem.bias", "norm.weight", "norm.bias"}


class HalfFrozen(nn.Module):
    """Its stem and the affine part of its norm are frozen; it scales by a buffer and a number."""

    def __init__(self, n_classes: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, padding=1).requires_grad_(requires_grad=False)
        self.norm = nn.BatchNorm2d(4).requires_grad_(requires_grad=False)
        self.conv = nn.Conv2d(4, 8, 3, padding=1)
        self.linear = nn.Linear(8, n_classes)
        self.register_buffer("scale", torch.tensor([1.0, 2.0, 0.5, 1.5]))

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.stem(x)))
        x = x * self.get_buffer("scale").view(1, 4, 1, 1)
        x = torch.relu(self.conv(x)) * 0.5
        return self.linear(x.mean((2, 3)))  # type: ignore[no-any-return]  # torch has no type for it


class TiedFrozen(nn.Module):
    """Two of its layers have one weight, which nothing changes."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 1, 3), nn.Conv2d(1, 1, 3, stride=2)
        self.first.weight.requires_grad = False
        self.second.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.relu(self.first(x))).mean((2, 3))  # type: ignore[no-any-return]  # as above


def all_frozen(n_classes: int) -> nn.Module:
    return HalfFrozen(n_classes).requires_grad_(requires_grad=False)


def train_frozen(output: Path, **settings: Any) -> Run:  # noqa: ANN401 -- passed on as they are
    small = {"epochs": 2, "lr": 0.1, "batch_size": 64, "val_fraction": 0.8}
    arch = settings.pop("arch", f"{__name__}:HalfFrozen")
    return train("digits", arch, output=output, **(small | settings))


def test_frozen_parameters_buffers_and_numbers_of_a_network_are_told() -> None:
    graph, tensors, frozen = read_network(HalfFrozen(3), torch.zeros(2, 1, 8, 8))

    trained = {"conv.weight", "conv.bias", "linear.weight", "linear.bias"}
    assert frozen == tensors.keys() - trained
    assert frozen > FROZEN
    scales = [node for node in graph.nodes if node.operator == "channel_affine"]
    assert {name for node in scales for name in node.tensors.values()} <= frozen


def test_layers_may_share_a_frozen_weight() -> None:
    network = TiedFrozen().eval()
    images = torch.randn(3, 1, 8, 8)

    graph, tensors, frozen = read_network(network, images)

    assert frozen == {"first.weight", "second.weight"}
    with torch.no_grad():
        torch.testing.assert_close(build(graph, tensors).eval()(images), network(images))


@pytest.mark.parametrize("method", ["plain", "views", "mwt"])
def test_training_leaves_what_is_frozen(method: str, tmp_path: Path) -> None:
    run = train_frozen(tmp_path / "run", method=method)

    start = starting_network(run.config, len(run.classes), run.input).state_dict()
    _, trained = run.network()
    changed = {name for name in trained if not torch.equal(start[name], trained[name])}
    parameters = {"conv.weight", "conv.bias", "linear.weight", "linear.bias"}
    assert {name for name in changed if not name.startswith("norm.running_")} >= parameters
    assert changed.isdisjoint(run.record.frozen)
    assert set(run.record.frozen) > FROZEN


def test_a_resumed_run_leaves_what_is_frozen(tmp_path: Path) -> None:
    def interrupt(progress: Progress) -> None:
        if progress.epoch == 1:
            raise KeyboardInterrupt

    with pytest.raises(ModpmError, match="interrupted"):
        train_frozen(tmp_path / "run", progress=interrupt)
    resumed = train_frozen(tmp_path / "run", resume=True)

    assert resumed.digest() == train_frozen(tmp_path / "whole").digest()


def test_a_network_with_nothing_to_train_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModpmError) as caught:
        train_frozen(tmp_path / "run", arch=f"{__name__}:all_frozen")

    assert caught.value.code == "nothing-to-train"
