"""The optimiser of a run, its learning rates, and its state as named tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.optim import SGD

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

MOMENTUM = 0.9
WEIGHT_DECAY = 5e-4
_BUFFER = "momentum_buffer"


def create_optimiser(network: nn.Module) -> SGD:
    """Create SGD with Nesterov's momentum 0.9 and weight decay 5e-4.

    Args:
        network: What it trains, but for parameters without gradients.

    Source:
        Modularizing while Training (arXiv 2306.09376), experimental setup.
    """
    return SGD(
        [parameter for parameter in network.parameters() if parameter.requires_grad],
        lr=0.0,
        momentum=MOMENTUM,
        weight_decay=WEIGHT_DECAY,
        nesterov=True,
        fused=True,
    )


def set_learning_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of the next step."""
    for group in optimiser.param_groups:
        group["lr"] = rate


def momentum_tensors(optimiser: torch.optim.Optimizer, network: nn.Module) -> dict[str, Tensor]:
    """Return the momentum of each parameter that has been trained, by the parameter's name."""
    return {
        name: optimiser.state[parameter][_BUFFER]
        for name, parameter in network.named_parameters()
        if _BUFFER in optimiser.state.get(parameter, {})
    }


def restore_momentum(
    optimiser: torch.optim.Optimizer, network: nn.Module, momentum: Mapping[str, Tensor]
) -> None:
    """Give each parameter the momentum that `momentum_tensors` returned."""
    for name, parameter in network.named_parameters():
        if name in momentum:
            buffer = torch.empty_like(parameter).copy_(momentum[name])
            optimiser.state[parameter][_BUFFER] = buffer
