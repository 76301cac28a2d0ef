"""The optimizer of a run, its learning rate over time, and its state as named tensors."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch.optim.sgd import sgd

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor, nn

MOMENTUM = 0.9


class Descent:
    """Gradient descent with Nesterov's momentum 0.9.

    It is torch's own arithmetic. Its class of optimizers is not used, since it imports the
    compiler, which takes as long as all else before the first step.

    Args:
        network: What it trains, but for parameters without gradients.
        weight_decay: Of every parameter.

    Attributes:
        rate: The learning rate of the next step.
        momentum: Of each parameter that was trained.

    Source:
        Sutskever et al., On the importance of initialization and momentum in deep learning, as
        `torch.optim.SGD` has it.
    """

    def __init__(self, network: nn.Module, weight_decay: float) -> None:
        self.rate = 0.0
        self.momentum: dict[nn.Parameter, Tensor] = {}
        self._weight_decay = weight_decay
        self._parameters = [p for p in network.parameters() if p.requires_grad]

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in self._parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Move each parameter that has a gradient."""
        trained = [p for p in self._parameters if p.grad is not None]
        self._move([p for p in trained if p in self.momentum])
        self._move([p for p in trained if p not in self.momentum])

    def _move(self, parameters: Sequence[nn.Parameter]) -> None:
        """Move parameters that all have momentum, or all get it now."""
        buffers = [self.momentum.get(parameter) for parameter in parameters]
        sgd(
            list(parameters),
            [parameter.grad for parameter in parameters if parameter.grad is not None],
            buffers,
            fused=True,
            weight_decay=self._weight_decay,
            momentum=MOMENTUM,
            lr=self.rate,
            dampening=0.0,
            nesterov=True,
            maximize=False,
        )
        made = zip(parameters, buffers, strict=True)
        self.momentum.update((p, buffer) for p, buffer in made if buffer is not None)


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


def momentum_tensors(optimizer: Descent, network: nn.Module) -> dict[str, Tensor]:
    """Return the momentum of each parameter that has been trained, by the parameter's name."""
    momentum = optimizer.momentum
    return {name: momentum[p] for name, p in network.named_parameters() if p in momentum}


def restore_momentum(
    optimizer: Descent, network: nn.Module, momentum: Mapping[str, Tensor]
) -> None:
    """Give each parameter the momentum that `momentum_tensors` returned."""
    for name, parameter in network.named_parameters():
        if name in momentum:
            optimizer.momentum[parameter] = torch.empty_like(parameter).copy_(momentum[name])
