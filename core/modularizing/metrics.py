"""How modular a network is: cohesion within classes, coupling between them, and their overlap."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

TILE = 512
"""Rows of a tile of the pairwise matrix, which is never held whole and stays in a CPU's caches."""


def jaccard_matrix(first: Tensor, second: Tensor) -> Tensor:
    """Return the Jaccard index of every set of `first` with every set of `second`.

    Two empty sets are equal, so their index is 1.

    Shapes:
        first: (M, K), boolean, a set a row.
        second: (N, K), boolean.
        returns: (M, N)
    """
    a, b = first.float(), second.float()
    sizes = a.sum(1)[:, None] + b.sum(1)
    intersection = a @ b.T
    index = intersection / (sizes - intersection).clamp_(min=1)
    return index.masked_fill_(sizes == 0, 1.0)


def mean_pairwise_jaccard(sets: Tensor, tile: int = TILE) -> float:
    """Return the mean Jaccard index of all pairs i < j of sets; 1 where there is no pair.

    Exact: the pairwise matrix is made tile by tile, by matrix products of zeros and ones.

    Args:
        sets: One set a row.
        tile: Rows and columns of a tile.

    Shapes:
        sets: (N, K), boolean.
    """
    n = len(sets)
    if n < 2:  # noqa: PLR2004 -- a pair has two
        return 1.0
    tiles = torch.split(sets, tile)
    total = 0.0
    for i, rows in enumerate(tiles):
        total += _sum_above_diagonal(jaccard_matrix(rows, rows))
        total += sum(_sum(jaccard_matrix(rows, columns)) for columns in tiles[i + 1 :])
    return total / (n * (n - 1) / 2)


def _sum(values: Tensor) -> float:
    return float(values.sum(dtype=torch.float64))


def _sum_above_diagonal(values: Tensor) -> float:
    return _sum(values.triu(diagonal=1))


def cohesion(sample_masks: Callable[[int], Tensor], masks: Mapping[str, Tensor]) -> float:
    """Return how much the samples of one class activate the same kernels, averaged over classes.

    It is the mean Jaccard index between the masks of all pairs of samples of a class, over the
    kernels that the class retains in the layers that have a mask generator.

    Args:
        sample_masks: Gives the masks of all samples of one class, layers side by side in the
            order of `masks`.
        masks: Module masks, by layer.

    Shapes:
        sample_masks: (n, K) for each class, boolean; K the kernels of all layers.
        masks: (n_classes, K) each, boolean.

    Source:
        Modularizing while Training (arXiv 2306.09376), cohesion.
        Departs: samples that both activate none of the retained kernels have index 1, and so has
        a class of one sample, where there is nothing to average.
    """
    joined = join(masks)
    indices = range(len(joined))
    return sum(mean_pairwise_jaccard(sample_masks(i)[:, joined[i]]) for i in indices) / len(joined)


def coupling(masks: Mapping[str, Tensor]) -> float:
    """Return the mean Jaccard index between the module masks of different classes.

    Args:
        masks: Module masks, by layer.

    Shapes:
        masks: (n_classes, K) each, boolean.

    Source:
        Modularizing while Training (arXiv 2306.09376), coupling.
        Departs: a network of one class has coupling 0, where there is nothing to average.
    """
    joined = join(masks)
    return mean_pairwise_jaccard(joined) if len(joined) > 1 else 0.0


def kernel_overlap(masks: Mapping[str, Tensor]) -> Tensor:
    """Return the Jaccard index between the module masks of every two classes.

    Shapes:
        masks: (n_classes, K) each, boolean.
        returns: (n_classes, n_classes), symmetric, 1 on the diagonal.
    """
    joined = join(masks)
    return jaccard_matrix(joined, joined)


def join(masks: Mapping[str, Tensor]) -> Tensor:
    """Put the module masks of all layers side by side; (n_classes, K) each to (n_classes, ΣK)."""
    return torch.cat(list(masks.values()), dim=1)


def retention_by_layer(
    retained: Sequence[Mapping[str, Sequence[int]]], kernels: Mapping[str, int]
) -> Tensor:
    """Return the share of each convolution's kernels that each class retains.

    Args:
        retained: Retained kernels of each class, by convolution.
        kernels: How many kernels each convolution has.

    Shapes:
        returns: (n_classes, n_convolutions)
    """
    return torch.tensor([[len(one[conv]) / n for conv, n in kernels.items()] for one in retained])
