"""How alike the images of a batch use a network's kernels, and losses of that.

Every image has a vector of numbers for each layer, 0 or more: its sample mask, or how strongly it
activates each kernel. Similarities are cosines, of all pairs of images of a batch at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn.functional import one_hot

_SILENT_NORM = 1e-8  # a mask with a smaller norm activates no kernel

Masks = Mapping[str, Tensor] | Iterable[Tensor]
"""One tensor for each layer; (N, K) each, K the kernels of the layer."""


def modular_losses(
    masks: Masks, labels: Tensor, members: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return how alike masks are within classes and between them, by one matrix product.

    Cohesion is 1 minus the mean cosine similarity of the masks of same-class pairs; coupling is
    that of different-class pairs.

    Args:
        masks: One tensor of sample masks for each layer.
        labels: The class of each sample.
        members: Of these layers, where it is known already.

    Shapes:
        masks: (N, K) each, K the kernels of its layer.
        labels: (N,)
        returns: () and ()

    Source:
        Modularizing while Training (arXiv 2306.09376), the losses for cohesion and coupling.
        Departs: a batch without a pair of the kind gives 0, and a mask that activates no kernel
        has similarity 0 with every other; the reference code gives NaN for both.
    """
    similarities = mean_similarities(masks, members)
    cohesion = _mean_over(1 - similarities, same_class_pairs(labels))
    return cohesion, _mean_over(similarities, different_class_pairs(labels))


def mean_similarities(masks: Masks, members: Tensor | None = None) -> Tensor:
    """Return the cosine similarity of every two samples' masks, averaged over layers.

    Every layer has the same pairs, so the mean over layers of a mean over pairs is the mean over
    pairs of this matrix, and one product of the concatenated unit masks gives all layers.

    Shapes:
        masks: (N, K) each.
        returns: (N, N)
    """
    units = _units(masks, members)
    return units @ units.T


def contrastive_loss(
    masks: Masks, labels: Tensor, temperature: float, members: Tensor | None = None
) -> Tensor:
    """Return how hard a sample's class is to tell by whose masks are like its own.

    That is the mean, over samples i and layers, of -log(sum_same exp(S_ij / temperature) /
    sum_all exp(S_ij / temperature)): S_ij is the cosine similarity of two masks, and the sums are
    over the samples j of i's class, i among them, and over all.

    Args:
        masks: One tensor of sample masks for each layer.
        labels: The class of each sample.
        temperature: Above 0; the lower, the more the likest masks count.
        members: As for `modular_losses`.

    Shapes:
        masks: (N, K) each, K the kernels of its layer.
        labels: (N,)
        returns: ()

    Source:
        Bi, Qi, Sun, Gao, Yu and Liang, NeMo: A Neuron-Level Modularizing-While-Training Approach
        for Decomposing DNN Models (arXiv 2508.11348), the contrastive loss.
        Departs: the published code adds exp(0) to both sums for each pair of the other kind; a
        mask that activates no kernel has similarity 0 with every one.
    """
    layers = _layers(masks)
    parts = torch.split(_units(layers, members), [layer.shape[1] for layer in layers], dim=1)
    # Of length 1 / sqrt(L) each, for the mean over layers.
    scores = len(layers) * torch.stack([part @ part.T for part in parts]) / temperature
    is_other = labels[:, None] != labels
    same = scores.masked_fill(is_other, -torch.inf).logsumexp(2)
    return (scores.logsumexp(2) - same).mean()


def _layers(masks: Masks) -> list[Tensor]:
    return list(masks.values()) if isinstance(masks, Mapping) else list(masks)


def _units(masks: Masks, members: Tensor | None = None) -> Tensor:
    """Return the masks of all layers side by side, each layer's of length 1 / sqrt(L).

    Shapes:
        returns: (N, K_1 + ... + K_L)
    """
    layers = _layers(masks)
    exact = [layer if layer.dtype == torch.float64 else layer.float() for layer in layers]
    joined = torch.cat(exact, dim=1)
    if members is None:
        members = layer_members([layer.shape[1] for layer in layers]).to(joined)
    return joined * _unit_scales(joined, members)


def layer_members(sizes: Sequence[int]) -> Tensor:
    """Return which kernel is of which layer: (K_1 + ... + K_L, L), of 0 and 1."""
    layer_of = torch.repeat_interleave(torch.tensor(sizes))
    return one_hot(layer_of, len(sizes)).float()


def _unit_scales(joined: Tensor, members: Tensor) -> Tensor:
    """Return what brings each layer's part of each sample's masks to length 1 / √L.

    Silent masks stay as they are, with a finite gradient. Sums over layers of any size are products
    with the matrix that says which kernel is of which layer, so that all layers take a few steps.

    Shapes:
        joined: (N, K_1 + ... + K_L)
        members: (K_1 + ... + K_L, L)
        returns: as joined
    """
    squares = joined.square() @ members
    is_silent = squares <= _SILENT_NORM**2
    scales = (members.shape[1] * squares.masked_fill(is_silent, 1)).rsqrt()
    return scales @ members.T


def same_class_pairs(labels: Tensor) -> Tensor:
    """Mark the pairs i < j of one class; (N,) to boolean (N, N)."""
    return (labels[:, None] == labels).triu(diagonal=1)


def different_class_pairs(labels: Tensor) -> Tensor:
    """Mark the pairs i < j of different classes; (N,) to boolean (N, N)."""
    return (labels[:, None] != labels).triu(diagonal=1)


def _mean_over(values: Tensor, pairs: Tensor) -> Tensor:
    return (values * pairs).sum() / pairs.sum().clamp_min(1)
