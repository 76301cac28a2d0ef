"""Learned corrections: what a cut network makes of what it normalizes, while its kernels stay."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modpm.core.graph import build

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from modpm.core.graph.side_by_side import PlainNetwork
    from modpm.core.training.one_vs_rest import OneVsRest

RATE = 0.01
"""Of learning, at the start."""


def learn_corrections(
    network: PlainNetwork, corrections: Sequence[str], lesson: OneVsRest
) -> dict[str, Tensor]:
    """Learn some tensors of a cut network by how well its logit tells its class from the rest.

    Args:
        network: The network of one class, of which the output is the logit, (N, 1).
        corrections: The names of the tensors that are learned: factors on channels, and what is
            added to them.
        lesson: The class, and how it is learned.

    Returns:
        The learned tensors, by name, on the processor.

    Source:
        How much factors and summands learn while kernels stay, there of chance: Frankle et al.,
        Training BatchNorm and only BatchNorm (ICLR 2021).
    """
    layers = build(network.graph, network.tensors).eval().to(lesson.images.device)
    learned = dict(layers.named_parameters())
    layers.requires_grad_(requires_grad=False)
    chosen = [learned[name].requires_grad_() for name in corrections]

    def logit(batch: Tensor, _step: int) -> Tensor:
        return layers(batch)[:, 0]  # type: ignore[no-any-return]  # torch's

    lesson.learn(chosen, RATE, logit)
    return {name: learned[name].detach().cpu() for name in corrections}
