"""From bytes to what a network reads, and the statistics for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from modpm.core.data.image_data import ImageData

_CHUNK = 1024


def normalise(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Return (pixel / 255 - mean) / std, per channel.

    Shapes:
        images: (N, C, H, W), uint8 → (N, C, H, W), float32, of the same memory format.
        mean, std: (C,).
    """
    scale = torch.tensor([1 / (255 * s) for s in std], device=images.device).view(1, -1, 1, 1)
    shift = torch.tensor([m / s for m, s in zip(mean, std, strict=True)], device=images.device)
    return images.float().mul_(scale).sub_(shift.view(1, -1, 1, 1))


def default_statistics(data: ImageData) -> tuple[list[float], list[float]]:
    """Return the mean and standard deviation of each channel, of pixels in [0, 1].

    Exact, from the frequencies of the 256 values. A channel that never varies is given 1 as its
    deviation, so that it can be divided by.

    Returns:
        mean and std, each of C numbers.
    """
    frequencies = _value_frequencies(data.images)
    values = torch.arange(256, dtype=torch.float64) / 255
    shares = frequencies / frequencies.sum(dim=1, keepdim=True)
    mean = shares @ values
    variance = (shares * (values - mean[:, None]).square()).sum(dim=1)
    std = torch.where(variance > 0, variance.sqrt(), 1.0)
    return mean.tolist(), std.tolist()


def _value_frequencies(images: Tensor) -> Tensor:
    """Count each channel's values: (N, C, H, W), uint8 → (C, 256), float64."""
    frequencies = torch.zeros(images.shape[1], 256, dtype=torch.float64)
    for start in range(0, len(images), _CHUNK):
        for channel, values in enumerate(images[start : start + _CHUNK].unbind(1)):
            frequencies[channel] += torch.bincount(values.reshape(-1), minlength=256)
    return frequencies
