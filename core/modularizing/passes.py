"""Passes over images: normalised batches of them, and what networks say of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from modpm.core.data import normalise

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from modpm.core.data import ImageData
    from modpm.core.formats.manifest import InputContract

BATCH_SIZE = 500

Progress = Callable[[int, int], None]
"""Told how many images are done, and of how many."""


def batches(
    data: ImageData, contract: InputContract, progress: Progress | None = None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Give normalised images and their labels, in order.

    Args:
        data: The images.
        contract: How they are normalised.
        progress: Told after each batch how far it is.

    Shapes:
        images: (N, C, H, W), float32, channels last; labels: (N,)
    """
    for start in range(0, len(data), BATCH_SIZE):
        images = data.images[start : start + BATCH_SIZE]
        normalised = normalise(images, contract.mean, contract.std)
        yield (
            normalised.contiguous(memory_format=torch.channels_last),
            data.labels[start : start + BATCH_SIZE],
        )
        if progress is not None:
            progress(start + len(images), len(data))
