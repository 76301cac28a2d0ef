"""Ranking: in what order each class would keep the kernels of a layer, decided once in training.

A module of any size keeps the first kernels of its class's ranking, so that smaller modules lie
within larger ones. First come kernels that all classes share, those that matter most to all. Then
come those that matter more to the class than to the others; of these, the first of each class are
nobody else's, so that as much of the layer as possible has an early place with some class. Kernels
of two classes that no class keeps together have no weights between them once the network is cut, so
that no more than can be divided among the classes is divided, and the rest is shared.
"""

from __future__ import annotations

import math
from itertools import accumulate
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from modpm.core.slicing import cuttable_convolutions
from modpm.core.training.inference import batches, device_of, normalizing

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from modpm.core.graph.interpreter import GraphNetwork
    from modpm.core.training.batches import TrainingImages

SHARED = 0.4, 0.9
"""The least and the most of what modules keep of a layer that is the same for all classes.

All views of single classes train these kernels, and no class's own as often.
"""

STEP = 16
"""Kernels are kept in multiples of it: what lies between costs a convolution what they cost."""

NARROW_STEP = 8
"""The same in narrow layers, of which 16 are much."""

NARROW = 128
"""Up to how many kernels a layer is narrow."""

NEARLY_ALL = 3 / 4
"""Of a layer of which more than this would be kept, every class keeps all.

The rest would save little, and what all keep whole, all modules of an origin have in common.
"""

TRUNK = 1 / 4
"""The share of a network's kernels that its first layers have which classes keep most of.

What early layers see is of use to all classes. Kept whole they are the same in all modules of an
origin, so that modules side by side compute them once, and what is left for each is small.
"""

TRUNK_NEED = 3
"""How many times as many kernels of such a layer as of a later one a class keeps."""

N_RANKING_IMAGES = 3000
"""Training images that the importance of kernels is measured on."""

_CHOSEN = 1e6  # above every importance: a choice made before stays
_LITTLE = 1e-12


def quotas(n_kernels: Mapping[str, int], n_all: int, retention: float) -> dict[str, int]:
    """Return how many kernels of each layer a class keeps, in multiples that pay.

    What a layer needs to tell one class from the others does not grow with its width. So, from one
    kernel of each layer, the layer that keeps the fewest keeps more, until the next step would
    exceed the rate: of layers that keep equally many the narrowest, of such the first. The first
    layers, up to `TRUNK` of all kernels, count as if they kept a `TRUNK_NEED`th of what they do.
    A lower rate never keeps more of any layer.

    Args:
        n_kernels: The kernels of each layer that is cut, in execution order.
        n_all: The kernels of the network but for those that follow others (`own_kernels`); those
            of other layers are kept by every class.
        retention: The kernel retention rate that is not to be exceeded; each layer keeps one
            kernel all the same.
    """
    budget = retention * n_all - (n_all - sum(n_kernels.values())) + _LITTLE
    kept = dict.fromkeys(n_kernels, 1)
    so_far = accumulate(n_kernels.values())
    need = {
        layer: TRUNK_NEED if n <= TRUNK * n_all else 1
        for layer, n in zip(n_kernels, so_far, strict=True)
    }
    while grown := [layer for layer in n_kernels if kept[layer] < n_kernels[layer]]:
        least = min(grown, key=lambda layer: (kept[layer] / need[layer], n_kernels[layer]))
        more = next_quota(kept[least], n_kernels[least])
        if sum(kept.values()) - kept[least] + more > budget:
            break
        kept[least] = more
    return kept


def next_quota(quota: int, n_kernels: int) -> int:
    """Return the least number of kernels above a quota that is worth keeping of a layer.

    That is twice as many below one step, and from there on a step more; all of the layer where it
    would be nearly all.
    """
    step = STEP if n_kernels > NARROW else NARROW_STEP
    more = min(2 * quota, quota + step)
    return n_kernels if more > NEARLY_ALL * n_kernels else more


def n_shared(n_classes: int, n_kernels: int, quota: int) -> int:
    """Return how many kernels of a layer all classes share.

    As many as leave each kernel that is not shared to one class, where that is possible: with
    fewer, classes would have to keep each other's, with more, some kernels would be nobody's.
    """
    if quota == n_kernels or n_classes == 1:
        return quota
    least, most = (round(share * quota) for share in SHARED)
    return min(max((n_classes * quota - n_kernels) // (n_classes - 1), least), most)


def rank_kernels(importance: Tensor, quota: int) -> Tensor:
    """Return the place of each kernel of a layer in the ranking of each class.

    Args:
        importance: How much each kernel matters to each class.
        quota: How many kernels the modules keep.

    Shapes:
        importance: (n_classes, K)
        returns: (n_classes, K), integers from 0; each row is a permutation.
    """
    n_classes, n_kernels = importance.shape
    relative = importance / importance.mean(1, keepdim=True).clamp_min(_LITTLE)
    n_common = n_shared(n_classes, n_kernels, quota)
    common = relative.mean(0)
    is_shared = torch.zeros(n_kernels, dtype=torch.bool)
    is_shared[common.argsort(descending=True, stable=True)[:n_common]] = True
    own = relative - common
    fair = math.ceil((n_kernels - n_common) / n_classes)
    order = own + _CHOSEN * _divided(own, is_shared, fair)
    order = torch.where(is_shared, 2 * _CHOSEN + common, order)
    return order.argsort(dim=1, descending=True, stable=True).argsort(dim=1)


def _divided(own: Tensor, is_shared: Tensor, fair: int) -> Tensor:
    """Give each kernel that is not shared to one class, and none more than a fair number."""
    n_classes, n_kernels = own.shape
    given = torch.zeros_like(own)
    is_free, left = (~is_shared).tolist(), [fair] * n_classes
    for place in own.flatten().argsort(descending=True, stable=True).tolist():
        label, kernel = divmod(place, n_kernels)
        if is_free[kernel] and left[label] > 0:
            given[label, kernel] = 1.0
            is_free[kernel] = False
            left[label] -= 1
    return given


def importance_of_kernels(network: GraphNetwork, images: TrainingImages) -> dict[str, Tensor]:
    """Return how much each kernel that can be cut matters to each class of training images.

    Every process finds the same: it is measured on the same images, drawn once.

    Shapes:
        returns: (n_classes, K) for each convolution, on the CPU.
    """
    chance = torch.Generator().manual_seed(0)
    positions = torch.randperm(len(images.data), generator=chance)[:N_RANKING_IMAGES]
    chosen = images.data.select(positions)
    return kernel_importance(
        network,
        cuttable_convolutions(network.graph),
        batches(chosen.pixels, normalizing(images.contract), device_of(network)),
        chosen.labels,
        len(chosen.classes),
    )


def kernel_importance(
    network: GraphNetwork,
    nodes: Mapping[str, str],
    images: Iterable[Tensor],
    labels: Tensor,
    n_classes: int,
) -> dict[str, Tensor]:
    """Return how much each kernel matters to each class.

    That is the mean, over the images of the class, of how far the margin of the right class over
    the others would move, to first order, if the kernel's values were scaled: |∂ margin / ∂ s|
    at s = 1, for each image and kernel.

    Args:
        network: Run in evaluation mode, and left in the mode it was in.
        nodes: For each layer, the node whose value is scaled, one number for each channel.
        images: Normalized images, in batches.
        labels: The classes of all.
        n_classes: Of the network.

    Shapes:
        images: (n, C, H, W) each
        labels: (N,)
        returns: (n_classes, K) for each layer, on the CPU; 0 for a class without images.

    Source:
        The first-order cutoff of Molchanov et al., Pruning convolutional neural networks for
        resource efficient inference (ICLR 2017).
        Departs: of the margin, and class by class.
    """
    was_training = network.training
    network.eval()
    is_label = one_hot(labels, n_classes).bool()
    sums, start = [], 0
    for batch in images:
        members = is_label[start : start + len(batch)].to(batch.device)
        sums.append(_importance_sums(network, nodes, batch, members))
        start += len(batch)
    network.train(was_training)
    n_images = is_label.sum(0).clamp_min(1)[:, None]
    totals = {layer: torch.stack([one[layer] for one in sums]).sum(0).cpu() for layer in nodes}
    return {layer: total / n_images for layer, total in totals.items()}


def _importance_sums(
    network: GraphNetwork, nodes: Mapping[str, str], images: Tensor, is_label: Tensor
) -> dict[str, Tensor]:
    n_kernels = network.graph.kernels()
    output = network.graph.output
    scales = {
        layer: images.new_ones(len(images), n_kernels[layer], requires_grad=True) for layer in nodes
    }
    with torch.enable_grad():
        scale = {nodes[layer]: value for layer, value in scales.items()}
        logits = network.run(images, (output,), scale)[output]
        others = logits.masked_fill(is_label, -torch.inf).logsumexp(1)
        margins = logits[is_label] - others
        gradients = torch.autograd.grad(margins.sum(), list(scales.values()))
    members = is_label.T.to(images.dtype)
    return {
        layer: members @ gradient.abs() for layer, gradient in zip(scales, gradients, strict=True)
    }
