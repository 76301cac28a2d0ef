"""The two modular losses of MwT: masks of one class alike, masks of different classes apart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn.functional import one_hot

_SILENT_NORM = 1e-8  # a mask with a smaller norm activates no kernel

Masks = Mapping[str, Tensor] | Iterable[Tensor]


def cohesion_loss(masks: Masks, labels: Tensor) -> Tensor:
    """Return 1 minus the mean cosine similarity of the masks of same-class pairs.

    Args:
        masks: One tensor of sample masks for each layer.
        labels: The class of each sample.

    Shapes:
        masks: (N, K) each, K the kernels of its layer.
        labels: (N,)
        returns: ()

    Source:
        Modularizing while Training (arXiv 2306.09376), the loss for cohesion.
        Departs: a batch without a same-class pair gives 0, and a mask that activates no kernel
        has similarity 0 with every other; the reference code gives NaN for both.
    """
    return _mean_over(1 - mean_similarities(masks), same_class_pairs(labels))


def coupling_loss(masks: Masks, labels: Tensor) -> Tensor:
    """Return the mean cosine similarity of the masks of different-class pairs.

    Args:
        masks: One tensor of sample masks for each layer.
        labels: The class of each sample.

    Shapes:
        masks: (N, K) each, K the kernels of its layer.
        labels: (N,)
        returns: ()

    Source:
        Modularizing while Training (arXiv 2306.09376), the loss for coupling.
        Departs: a batch without a different-class pair gives 0, and a mask that activates no
        kernel has similarity 0 with every other; the reference code gives NaN for both.
    """
    return _mean_over(mean_similarities(masks), different_class_pairs(labels))


def modular_losses(
    masks: Masks, labels: Tensor, layer_weights: Sequence[float] | None = None
) -> tuple[Tensor, Tensor]:
    """Return `cohesion_loss` and `coupling_loss`, sharing their one matrix product.

    Args:
        masks: One tensor of sample masks for each layer.
        labels: The class of each sample.
        layer_weights: What each layer counts, 1 in total; None for the plain mean of the paper.

    Shapes:
        masks: (N, K) each, K the kernels of its layer.
        labels: (N,)
        returns: () and ()
    """
    similarities = mean_similarities(masks, layer_weights)
    cohesion = _mean_over(1 - similarities, same_class_pairs(labels))
    return cohesion, _mean_over(similarities, different_class_pairs(labels))


def mean_similarities(masks: Masks, layer_weights: Sequence[float] | None = None) -> Tensor:
    """Return the cosine similarity of every two samples' masks, averaged over layers.

    Every layer has the same pairs, so the mean over layers of a mean over pairs is the mean over
    pairs of this matrix, and one product of the concatenated unit masks gives all layers.

    Shapes:
        masks: (N, K) each.
        returns: (N, N)
    """
    layers = list(masks.values()) if isinstance(masks, Mapping) else list(masks)
    exact = [layer if layer.dtype == torch.float64 else layer.float() for layer in layers]
    joined = torch.cat(exact, dim=1)
    weights = joined.new_tensor(layer_weights or [1 / len(layers)] * len(layers))
    units = joined * _unit_scales(joined, [layer.shape[1] for layer in layers], weights)
    return units @ units.T


def _unit_scales(joined: Tensor, sizes: Sequence[int], weights: Tensor) -> Tensor:
    """Return what brings each layer's part of each sample's masks to the square root of its weight.

    Silent masks stay as they are, with a finite gradient. Sums over layers of any size are products
    with the matrix that says which kernel is of which layer, so that all layers take a few steps.

    Shapes:
        joined: (N, K_1 + ... + K_L)
        weights: (L,)
        returns: as joined
    """
    layer_of = torch.repeat_interleave(torch.tensor(sizes, device=joined.device))
    members = one_hot(layer_of, len(sizes)).to(joined.dtype)
    squares = joined.square() @ members
    is_silent = squares <= _SILENT_NORM**2
    scales = (weights / squares.masked_fill(is_silent, 1)).sqrt()
    return scales @ members.T


def same_class_pairs(labels: Tensor) -> Tensor:
    """Mark the pairs i < j of one class; (N,) to boolean (N, N)."""
    return (labels[:, None] == labels).triu(diagonal=1)


def different_class_pairs(labels: Tensor) -> Tensor:
    """Mark the pairs i < j of different classes; (N,) to boolean (N, N)."""
    return (labels[:, None] != labels).triu(diagonal=1)


def _mean_over(values: Tensor, pairs: Tensor) -> Tensor:
    return (values * pairs).sum() / pairs.sum().clamp_min(1)
