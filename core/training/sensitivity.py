"""Sensitivity: how far the logit of a class would move without a kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from modpm.core.data import normalize
from modpm.core.slicing import cuttable_convolutions
from modpm.core.training.inference import device_of, images_at_once

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from modpm.core.graph import GraphNetwork
    from modpm.core.training.batches import TrainingImages

N_EACH = 300
"""Images of a class, and as many of all others, that its logit is read for."""


def sensitivity_of_kernels(
    network: GraphNetwork,
    images: TrainingImages,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Tensor]:
    """Return how much of what a class's logit says would be lost without each kernel.

    That is the variance, over images of which half show the class, of how far its logit would
    move, to first order, if the kernel's values were 0: of ∂ logit / ∂ s at s = 1. What is the
    same for all images is made up for by statistics that are taken anew, and by calibration.

    Args:
        network: Run in evaluation mode, and left in the mode it was in.
        images: The training images, of which a few of each class are drawn.
        progress: Told how many classes are done, and of how many.

    Shapes:
        returns: (n_classes, K) for each convolution that can be cut, on the CPU.

    Source:
        The first-order cutoff of Molchanov et al., Pruning convolutional neural networks for
        resource efficient inference (ICLR 2017).
        Departs: of a class's logit, and of what differs between images alone.
    """
    nodes = cuttable_convolutions(network.graph)
    was_training = network.training
    network.eval()
    rows = []
    for label in range(len(images.data.classes)):
        sides = [_gradients(network, nodes, images, label, own) for own in _sides(images, label)]
        rows.append(_mixed_variance(*sides))
        if progress is not None:
            progress(len(rows), len(images.data.classes))
    network.train(was_training)
    kernels = network.graph.kernels()
    table = torch.stack(rows)
    parts = torch.split(table, [kernels[layer] for layer in nodes], dim=1)
    return dict(zip(nodes, parts, strict=True))


def _sides(images: TrainingImages, label: int) -> Iterator[Tensor]:
    """Draw positions of images of a class, and of all others."""
    chance = torch.Generator().manual_seed(label)
    is_class = images.data.labels == label
    for side in (is_class, ~is_class):
        members = side.nonzero()[:, 0]
        yield members[torch.randperm(len(members), generator=chance)[:N_EACH]]


def _gradients(
    network: GraphNetwork,
    nodes: Mapping[str, str],
    images: TrainingImages,
    label: int,
    positions: Tensor,
) -> Tensor:
    """Return the derivatives of a logit by factors on all kernels, for each image; (n, ΣK)."""
    kernels, output, device = network.graph.kernels(), network.graph.output, device_of(network)
    mean, std = images.contract.mean, images.contract.std
    # As few as on a processor: values stay for their gradients.
    found, n_at_once = [], images_at_once(images.data.pixels, torch.device("cpu"))
    for some in torch.split(positions, n_at_once):
        batch = normalize(images.data.pixels[some].to(device), mean, std)
        batch = batch.contiguous(memory_format=torch.channels_last)
        scales = [batch.new_ones(len(batch), kernels[layer]) for layer in nodes]
        for scale in scales:
            scale.requires_grad_()
        with torch.enable_grad():
            values = network.run(batch, (output,), dict(zip(nodes.values(), scales, strict=True)))
            gradients = torch.autograd.grad(values[output][:, label].sum(), scales)
        found.append(torch.cat(gradients, 1).cpu())
    return torch.cat(found)


def _mixed_variance(first: Tensor, second: Tensor) -> Tensor:
    """Return the variance of each column where both sides weigh the same; (n, K), (m, K) to (K,).

    It is that within the sides and that between their means.
    """
    within = (first.var(0, correction=0) + second.var(0, correction=0)) / 2
    return within + ((first.mean(0) - second.mean(0)) / 2) ** 2
