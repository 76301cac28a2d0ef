"""The two modular losses of MwT: masks of one class alike, masks of different classes apart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

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
    weights = layer_weights or [1 / len(layers)] * len(layers)
    parts = [_unit(layer) * w**0.5 for layer, w in zip(layers, weights, strict=True)]
    units = torch.cat(parts, dim=1)
    return units @ units.T


def same_class_pairs(labels: Tensor) -> Tensor:
    """Mark the pairs i < j of one class; (N,) to boolean (N, N)."""
    return (labels[:, None] == labels).triu(diagonal=1)


def different_class_pairs(labels: Tensor) -> Tensor:
    """Mark the pairs i < j of different classes; (N,) to boolean (N, N)."""
    return (labels[:, None] != labels).triu(diagonal=1)


def _unit(masks: Tensor) -> Tensor:
    """Scale each mask to norm 1; silent masks stay as they are, with a finite gradient."""
    masks = masks if masks.dtype == torch.float64 else masks.float()
    norms = torch.linalg.vector_norm(masks, dim=1, keepdim=True)
    units: Tensor = masks / norms.where(norms > _SILENT_NORM, torch.ones_like(norms))
    return units


def _mean_over(values: Tensor, pairs: Tensor) -> Tensor:
    return (values * pairs).sum() / pairs.sum().clamp_min(1)
