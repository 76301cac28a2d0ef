"""From bytes to what a network reads, and the statistics for it."""

from __future__ import annotations

from math import isfinite, prod, sqrt
from typing import TYPE_CHECKING

import torch

from modpm.core.data.image_data import moments_of
from modpm.core.errors import ModpmError
from modpm.core.tensors import send

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from torch import Tensor

    from modpm.core.data.image_data import ImageData


def normalize(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Return (pixel / 255 - mean) / std, per channel.

    Shapes:
        images: (N, C, H, W), uint8, or numbers in their place, which are overwritten → (N, C, H,
            W), float32, of the same memory format.
        mean, std: (C,).
    """
    numbers = [[1 / (255 * s) for s in std], [m / s for m, s in zip(mean, std, strict=True)]]
    scale, shift = send(torch.tensor(numbers), images.device)[:, None, :, None, None]
    return images.float().mul_(scale).sub_(shift)


def default_statistics(data: ImageData) -> tuple[list[float], list[float]]:
    """Return the mean and standard deviation of each channel, of pixels in [0, 1].

    Exact, from whole numbers. A channel that never varies is given 1 as its deviation, so that it
    can be divided by.

    Returns:
        mean and std, each of C numbers.
    """
    moments = moments_of(data.pixels) if data.moments is None else data.moments
    n = len(data) * prod(data.image_shape[1:])
    sums = moments.sum(0).tolist()
    mean = [total / (255 * n) for total, _ in sums]
    # In whole numbers: a difference of two that are nearly alike loses nothing.
    variances = [n * squares - total**2 for total, squares in sums]
    return mean, [sqrt(variance) / (255 * n) if variance else 1.0 for variance in variances]


def check_statistics(
    mean: Sequence[float], std: Sequence[float], n_channels: Collection[int]
) -> None:
    """Check that images can be normalized by a mean and a standard deviation of each channel.

    Raises:
        ModpmError: They cannot (`bad-setting`).
    """
    are_numbers = all(isfinite(number) for number in (*mean, *std))
    if not (are_numbers and len(mean) == len(std) and len(std) in n_channels and min(std) > 0):
        expected = " or ".join(map(str, n_channels))
        raise ModpmError(
            "images cannot be normalized so",
            code="bad-setting",
            why=f"mean {[*mean]} and std {[*std]} must be {expected} numbers each, std above 0",
            hint="give one number each for gray images or three for color",
            exit_code=2,
        )
