"""Kernel frequencies while they change: what each class activates, as training goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

if TYPE_CHECKING:
    from collections.abc import Mapping

DECAY = 0.99  # of a class's past, for each new sample of the class
THRESHOLD_STEP = 0.05
_ROUNDING = 1e-6


class RunningFrequencies(nn.Module):
    """Exponential moving averages of kernel frequencies, one row for each class.

    Its state is buffers, so that checkpoints keep it and all processes share the first one's.

    Shapes:
        frequencies: (n_classes, K_1 + … + K_L), the masked layers side by side.
        weights: (n_classes,) the part of the average that comes of samples; 0 for an unseen class.
    """

    frequencies: Tensor
    weights: Tensor

    def __init__(self, n_classes: int, n_kernels: Mapping[str, int]) -> None:
        super().__init__()
        self.n_kernels = dict(n_kernels)
        self.register_buffer("frequencies", torch.zeros(n_classes, sum(n_kernels.values())))
        self.register_buffer("weights", torch.zeros(n_classes))

    @torch.no_grad()
    def update(self, masks: Mapping[str, Tensor], labels: Tensor) -> None:
        """Add the masks of a batch.

        Shapes:
            masks: (N, K_l) for each layer l.
            labels: (N,)
        """
        members = one_hot(labels, len(self.weights)).float()
        n_members = members.sum(0)
        active = torch.cat([masks[layer] > 0 for layer in self.n_kernels], dim=1).float()
        batch = members.T @ active / n_members.clamp_min(1)[:, None]
        share = 1 - DECAY**n_members
        self.frequencies += share[:, None] * (batch - self.frequencies)
        self.weights += share * (1 - self.weights)

    @torch.no_grad()
    def module_masks(self, threshold: float) -> dict[str, Tensor]:
        """Return each class's module mask; a class without samples retains all kernels.

        Args:
            threshold: Frequency at or above which a kernel is retained; where a layer would be
                empty it falls in steps of 0.05.

        Shapes:
            returns: (n_classes, K_l) of 0 and 1 for each layer l.
        """
        frequencies = self.frequencies / self.weights.clamp_min(_ROUNDING)[:, None]
        frequencies[self.weights == 0] = 1.0
        layers = torch.split(frequencies, list(self.n_kernels.values()), dim=1)
        return {
            name: retained_at(layer, threshold).float()
            for name, layer in zip(self.n_kernels, layers, strict=True)
        }

    def retention_rate(self, threshold: float, n_kernels: int) -> float:
        """Return the share of a network's kernels that a class retains, averaged over classes.

        Args:
            threshold: As for `module_masks`.
            n_kernels: Of the network; those of layers without masks are retained.
        """
        masks = self.module_masks(threshold).values()
        n_retained = sum(mask.sum(dim=1).mean().item() for mask in masks)
        return (n_retained + n_kernels - sum(self.n_kernels.values())) / n_kernels


def retained_at(frequencies: Tensor, threshold: float) -> Tensor:
    """Mark each class's kernels of one layer that are at or above the threshold.

    A kernel that is never active is not retained, but the first one of a layer where none is.

    Args:
        frequencies: In [0, 1].
        threshold: Where a class would retain none, it falls in steps of 0.05.

    Shapes:
        frequencies: (n_classes, K)
        returns: boolean (n_classes, K)
    """
    highest = frequencies.amax(dim=1, keepdim=True)
    n_steps = ((threshold - highest) / THRESHOLD_STEP - _ROUNDING).ceil().clamp_min(0)
    met = frequencies >= threshold - n_steps * THRESHOLD_STEP - _ROUNDING
    first = torch.arange(frequencies.shape[1], device=frequencies.device) == 0
    return torch.where(highest > 0, met & (frequencies > 0), first)
