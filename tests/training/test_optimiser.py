from __future__ import annotations

import torch
from torch import nn

from modpm.core.training.optimiser import (
    create_optimiser,
    momentum_tensors,
    restore_momentum,
    set_learning_rate,
)


def network() -> nn.Module:
    torch.manual_seed(0)
    layer = nn.Conv2d(2, 3, 1)
    layer.add_module("mask_generator", nn.Sequential(nn.Linear(2, 3)))
    return nn.Sequential(layer)


def step(trained: nn.Module, optimiser: torch.optim.Optimizer) -> None:
    loss = sum((p.square().sum() for p in trained.parameters()), torch.zeros(()))
    optimiser.zero_grad()
    torch.autograd.backward(loss)
    optimiser.step()


def test_a_restored_optimiser_goes_on_as_if_never_stopped() -> None:
    straight, stopped = network(), network()
    optimisers = create_optimiser(straight), create_optimiser(stopped)
    for optimiser, trained in zip(optimisers, (straight, stopped), strict=True):
        set_learning_rate(optimiser, 0.1)
        step(trained, optimiser)
    momentum = {name: t.clone() for name, t in momentum_tensors(optimisers[1], stopped).items()}
    assert set(momentum) == {name for name, _ in stopped.named_parameters()}
    resumed = create_optimiser(stopped)
    restore_momentum(resumed, stopped, momentum)
    set_learning_rate(resumed, 0.1)
    step(straight, optimisers[0])
    step(stopped, resumed)
    for one, other in zip(straight.parameters(), stopped.parameters(), strict=True):
        assert torch.equal(one, other)


def test_there_is_no_momentum_before_the_first_step() -> None:
    trained = network()
    assert momentum_tensors(create_optimiser(trained), trained) == {}
