"""The optimizer of a run, its learning rate over time, and its state as named tensors."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch.optim import SGD

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

MOMENTUM = 0.9
_BUFFER = "momentum_buffer"


def create_optimizer(network: nn.Module, weight_decay: float) -> SGD:
    """Create SGD with Nesterov's momentum 0.9.

    Args:
        network: What it trains, but for parameters without gradients.
        weight_decay: Of every parameter.
    """
    return SGD(
        [parameter for parameter in network.parameters() if parameter.requires_grad],
        lr=0.0,
        momentum=MOMENTUM,
        weight_decay=weight_decay,
        nesterov=True,
        fused=True,
    )


def learning_rate(step: int, n_steps: int, peak: float, warm_up: float) -> float:
    """Return the learning rate of one step: a linear warm-up, then half a cosine towards zero.

    Args:
        step: Steps done so far.
        n_steps: Steps of the whole run.
        peak: The highest rate, reached at the end of the warm-up.
        warm_up: Share of the steps in which the rate rises.

    Source:
        Loshchilov and Hutter, arXiv 1608.03983, equation 5, without restarts.
        Departs: the warm-up, without which short runs at high rates diverge.
    """
    share = (step + 1) / (n_steps + 1)
    if share < warm_up:
        return peak * share / warm_up
    return peak * 0.5 * (1 + math.cos(math.pi * (share - warm_up) / (1 - warm_up)))


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of the next step."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def momentum_tensors(optimizer: torch.optim.Optimizer, network: nn.Module) -> dict[str, Tensor]:
    """Return the momentum of each parameter that has been trained, by the parameter's name."""
    return {
        name: optimizer.state[parameter][_BUFFER]
        for name, parameter in network.named_parameters()
        if _BUFFER in optimizer.state.get(parameter, {})
    }


def restore_momentum(
    optimizer: torch.optim.Optimizer, network: nn.Module, momentum: Mapping[str, Tensor]
) -> None:
    """Give each parameter the momentum that `momentum_tensors` returned."""
    for name, parameter in network.named_parameters():
        if name in momentum:
            buffer = torch.empty_like(parameter).copy_(momentum[name])
            optimizer.state[parameter][_BUFFER] = buffer
