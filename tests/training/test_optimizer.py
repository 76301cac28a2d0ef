from __future__ import annotations

import pytest
import torch
from torch import nn

from modpm.core.training.optimizer import (
    create_optimizer,
    learning_rate,
    momentum_tensors,
    restore_momentum,
    set_learning_rate,
)


def network() -> nn.Module:
    torch.manual_seed(0)
    layer = nn.Conv2d(2, 3, 1)
    layer.add_module("mask_generator", nn.Sequential(nn.Linear(2, 3)))
    return nn.Sequential(layer)


def step(trained: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    loss = sum((p.square().sum() for p in trained.parameters()), torch.zeros(()))
    optimizer.zero_grad()
    torch.autograd.backward(loss)
    optimizer.step()


def test_a_restored_optimizer_goes_on_as_if_never_stopped() -> None:
    straight, stopped = network(), network()
    optimizers = create_optimizer(straight, 5e-4), create_optimizer(stopped, 5e-4)
    for optimizer, trained in zip(optimizers, (straight, stopped), strict=True):
        set_learning_rate(optimizer, 0.1)
        step(trained, optimizer)
    momentum = {name: t.clone() for name, t in momentum_tensors(optimizers[1], stopped).items()}
    assert set(momentum) == {name for name, _ in stopped.named_parameters()}
    resumed = create_optimizer(stopped, 5e-4)
    restore_momentum(resumed, stopped, momentum)
    set_learning_rate(resumed, 0.1)
    step(straight, optimizers[0])
    step(stopped, resumed)
    for one, other in zip(straight.parameters(), stopped.parameters(), strict=True):
        assert torch.equal(one, other)


def test_there_is_no_momentum_before_the_first_step() -> None:
    trained = network()
    assert momentum_tensors(create_optimizer(trained, 5e-4), trained) == {}


@pytest.mark.parametrize("warm_up", [0.0, 0.15])
@pytest.mark.parametrize("n_steps", [1, 2, 10, 1000])
def test_rates_are_positive_and_at_most_the_peak(n_steps: int, warm_up: float) -> None:
    rates = [learning_rate(step, n_steps, 0.1, warm_up) for step in range(n_steps)]
    assert all(0 < rate <= 0.1 for rate in rates)


def test_rates_rise_to_the_peak_and_then_fall() -> None:
    rates = [learning_rate(step, 1000, 0.1, 0.15) for step in range(1000)]
    peak = rates.index(max(rates))
    assert peak == pytest.approx(150, abs=2)
    assert rates[peak] == pytest.approx(0.1, rel=1e-3)
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert rates[-1] < 1e-4


def test_without_a_warm_up_rates_fall_from_the_first_step_on() -> None:
    rates = [learning_rate(step, 1000, 0.1, 0.0) for step in range(1000)]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] == pytest.approx(0.1, rel=1e-3)
