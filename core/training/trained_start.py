"""Mask generators for weights that have been trained: diverse, unsaturated, and changing little.

Generators drawn at random leave a trained network in one of two ways. Masks that differ much from
image to image destroy what it computes; masks that are all alike are a stationary point of the
modular losses, and saturated ones pass no gradient. So each layer's generator is drawn for the
images that the network sees: what it reads is whitened, its hidden units respond to differences
between images, its scores vary a little around a value at which tanh is neither closed nor flat,
and what the masks take away on average is given back by the layer before them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from modpm.core.graph import build
from modpm.core.training.mask_generators import mask_nodes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from modpm.core.formats.network_graph import Graph
    from modpm.core.graph import GraphNetwork

N_IMAGES = 1500
"""Training images that generators are drawn for."""

SCORE_MEAN, SCORE_DEVIATION = 1.2, 0.25
"""Of the scores before tanh, over images."""

_SMALLEST_VARIANCE = 0.05  # of whitened directions, as a share of the largest
_LEAST_MASK = 0.2  # the most that a layer's values are raised by is five times
_LITTLE = 1e-6


@torch.no_grad()
def fit_generators(
    graph: Graph, tensors: Mapping[str, Tensor], images: Tensor, generator: torch.Generator
) -> dict[str, Tensor]:
    """Draw the mask generators of a trained network for images, layer after layer.

    Args:
        graph: A network with mask generators.
        tensors: Its tensors.
        images: Normalised training images.
        generator: Source of the weights' randomness.

    Shapes:
        images: (N, C, H, W)

    Returns:
        The tensors, with the generators' and those of the layers before the masks replaced.
    """
    network = build(graph, {name: tensor.clone() for name, tensor in tensors.items()}).eval()
    for conv, mask in mask_nodes(graph).items():
        prefix = mask.removesuffix("mask")
        pooled = network.run(images, [f"{prefix}pool"])[f"{prefix}pool"]
        _draw(network, prefix, pooled, generator)
        mean_mask = network.run(images, [mask])[mask].mean(0).clamp_min(_LEAST_MASK)
        value = graph.node(graph.node(f"{conv}.masked").inputs[0])
        for role in ("weight", "bias"):
            if role in value.tensors:
                parameter = network.get_parameter(value.tensors[role])
                parameter.div_(mean_mask.view(-1, *([1] * (parameter.dim() - 1))))
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}


def _draw(network: GraphNetwork, prefix: str, pooled: Tensor, generator: torch.Generator) -> None:
    """Set the weights of one generator for the pooled inputs that it reads, (N, C)."""
    hidden = network.get_parameter(f"{prefix}hidden.weight")
    score = network.get_parameter(f"{prefix}score.weight")
    hidden.copy_(_contrasts(pooled, len(hidden), generator))
    active = (pooled @ hidden.T).relu()
    score.copy_(torch.randn(score.shape, generator=generator))
    deviation = (active @ score.T).std(0, correction=0)
    score.mul_((SCORE_DEVIATION / (deviation + _LITTLE))[:, None])
    bias = network.get_parameter(f"{prefix}score.bias")
    bias.copy_(SCORE_MEAN - (active @ score.T).mean(0))


def _contrasts(pooled: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """Draw linear functions of whitened vectors, of mean 0 and deviation 1 over the images.

    Shapes:
        pooled: (N, C)
        returns: (n, C)
    """
    mean = pooled.mean(0)
    centred = pooled - mean
    variances, directions = torch.linalg.eigh(centred.T @ centred / len(pooled))
    variances = variances.clamp_min(_SMALLEST_VARIANCE * variances.max() + _LITTLE**2)
    whitening = (directions * variances.rsqrt()) @ directions.T
    drawn: Tensor = torch.randn(n, pooled.shape[1], generator=generator) @ whitening
    # There is no bias in this layer: the mean is taken out along itself.
    drawn -= (drawn @ mean)[:, None] * mean / (mean @ mean + _LITTLE)
    deviation: Tensor = (pooled @ drawn.T).std(0, correction=0)
    return drawn / (deviation + _LITTLE)[:, None]
