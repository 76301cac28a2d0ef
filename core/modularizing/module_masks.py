"""Module masks: which kernels a class retains."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from modpm.core.errors import ModpmError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

STEP = Fraction(1, 20)
"""By how much the threshold falls, again and again, where a layer would be empty."""

LARGEST_DENOMINATOR = 10**6


def exact_threshold(threshold: float) -> Fraction:
    """Return the decimal number that a threshold was written as.

    The comparison of counts with it is one of integers: a kernel that is active in 9 of 10
    samples has a frequency of 0.9, whatever 0.9 is in binary.

    Raises:
        ModpmError: `invalid-threshold`, if it is not in (0, 1].
    """
    if not 0 < threshold <= 1:
        raise ModpmError(
            f"a threshold of {threshold} is not above 0 and at most 1",
            code="invalid-threshold",
            hint="it is the share of a class's images that must activate a kernel, such as 0.9",
            exit_code=2,
        )
    return Fraction(str(threshold)).limit_denominator(LARGEST_DENOMINATOR)


def module_masks(
    counts: Mapping[str, Tensor], n_samples: Tensor, threshold: float
) -> dict[str, Tensor]:
    """Return, for each layer, which kernels each class retains.

    Args:
        counts: How many samples of each class activate each kernel, by layer.
        n_samples: How many samples each class has.
        threshold: Kernel frequency at or above which a kernel is retained.

    Shapes:
        counts: (n_classes, K) each, integers; K the kernels of its layer.
        n_samples: (n_classes,)
        returns: (n_classes, K) each, boolean; at least one kernel of every layer and class.

    Source:
        Modularizing while Training (arXiv 2306.09376): threshold 0.9, falling in steps of 0.05
        where a layer would be empty.
        Departs: a kernel that no sample activates is never retained for its frequency, and of a
        layer that no sample activates the first kernel is retained, where the published code
        falls to a threshold of 0 and retains them all.

    Raises:
        ModpmError: `invalid-threshold`.
    """
    exact = exact_threshold(threshold)
    return {layer: _layer_masks(table, n_samples, exact) for layer, table in counts.items()}


def _layer_masks(table: Tensor, n_samples: Tensor, threshold: Fraction) -> Tensor:
    rows = zip(table, n_samples.tolist(), strict=True)
    return torch.stack([_class_mask(counts, n, threshold) for counts, n in rows])


def _class_mask(counts: Tensor, n_samples: int, threshold: Fraction) -> Tensor:
    highest = int(counts.max())
    if highest == 0:
        return torch.arange(len(counts)) == 0
    met = _falling(threshold, Fraction(highest, n_samples))
    return (counts * met.denominator >= met.numerator * n_samples) & (counts > 0)


def _falling(threshold: Fraction, highest: Fraction) -> Fraction:
    """Return the threshold after the fewest steps that let the most frequent kernel stay."""
    n_steps = max(0, math.ceil((threshold - highest) / STEP))
    return threshold - n_steps * STEP


def retained_kernels(
    masks: Mapping[str, Tensor], class_index: int, kernels: Mapping[str, int]
) -> dict[str, list[int]]:
    """Return the indices of the kernels that one class retains, ascending, by convolution.

    Args:
        masks: Module masks of the convolutions that have a mask generator.
        class_index: Which class.
        kernels: How many kernels each convolution of the network has. One without a mask
            generator retains all of them.

    Shapes:
        masks: (n_classes, K) each, boolean.
    """
    return {
        conv: masks[conv][class_index].nonzero()[:, 0].tolist() if conv in masks else [*range(n)]
        for conv, n in kernels.items()
    }


def kernel_retention_rate(
    retained: Mapping[str, Sequence[int]], kernels: Mapping[str, int]
) -> float:
    """Return retained kernels / all kernels of one class module.

    Strict: every convolution counts, those without a mask generator as wholly retained.

    Args:
        retained: Indices of the retained kernels, by convolution.
        kernels: How many kernels each convolution of the network has.
    """
    return sum(len(retained[conv]) for conv in kernels) / sum(kernels.values())
