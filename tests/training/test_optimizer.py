from __future__ import annotations

import pytest
import torch
from torch import nn

from modpm.core.training.optimizer import (
    Descent,
    learning_rate,
    momentum_tensors,
    restore_momentum,
)


def network() -> nn.Module:
    torch.manual_seed(0)
    layer = nn.Conv2d(2, 3, 1)
    layer.add_module("mask_generator", nn.Sequential(nn.Linear(2, 3)))
    return nn.Sequential(layer)


def step(trained: nn.Module, optimizer: Descent) -> None:
    loss = sum((p.square().sum() for p in trained.parameters()), torch.zeros(()))
    optimizer.zero_grad()
    torch.autograd.backward(loss)
    optimizer.step()


def test_a_restored_optimizer_goes_on_as_if_never_stopped() -> None:
    straight, stopped = network(), network()
    optimizers = Descent(straight, 5e-4), Descent(stopped, 5e-4)
    for optimizer, trained in zip(optimizers, (straight, stopped), strict=True):
        optimizer.rate = 0.1
        step(trained, optimizer)
    momentum = {name: t.clone() for name, t in momentum_tensors(optimizers[1], stopped).items()}
    assert set(momentum) == {name for name, _ in stopped.named_parameters()}
    resumed = Descent(stopped, 5e-4)
    restore_momentum(resumed, stopped, momentum)
    resumed.rate = 0.1
    step(straight, optimizers[0])
    step(stopped, resumed)
    for one, other in zip(straight.parameters(), stopped.parameters(), strict=True):
        assert torch.equal(one, other)


def test_steps_are_those_of_torch() -> None:
    ours, theirs = network(), network()
    descent = Descent(ours, 5e-4)
    reference = torch.optim.SGD(
        theirs.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=True, fused=True
    )
    descent.rate = 0.1
    for _ in range(3):
        step(ours, descent)
        loss = sum((p.square().sum() for p in theirs.parameters()), torch.zeros(()))
        reference.zero_grad()
        torch.autograd.backward(loss)
        reference.step()
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(one, other)


def test_parameter_that_is_trained_later_gets_its_momentum_then() -> None:
    trained = network()
    descent, (weight, bias, *_) = Descent(trained, 0.0), trained.parameters()
    descent.rate = 0.1
    weight.grad = torch.ones_like(weight)
    descent.step()
    assert set(momentum_tensors(descent, trained)) == {"0.weight"}
    before, bias.grad = bias.detach().clone(), torch.ones_like(bias)
    descent.step()
    assert torch.allclose(bias, before - 0.19)  # the gradient and its momentum, 1 + 0.9
    assert set(momentum_tensors(descent, trained)) == {"0.weight", "0.bias"}


def test_there_is_no_momentum_before_the_first_step() -> None:
    trained = network()
    assert momentum_tensors(Descent(trained, 5e-4), trained) == {}


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
