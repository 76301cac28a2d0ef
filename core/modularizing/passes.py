"""Passes over images: normalised batches of them, and what networks say of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from modpm.core.data import normalise
from modpm.core.training.inference import BATCH_SIZE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

    from modpm.core.data import ImageData
    from modpm.core.formats.manifest import InputContract

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


def aligned(data: ImageData, classes: Sequence[str]) -> ImageData:
    """Return the images of some classes, labelled by their positions among them.

    A split may name its classes in another order, lack some, or have others, whose images are
    left out.

    Args:
        data: Images whose labels are positions in `data.classes`.
        classes: Names of classes.
    """
    if tuple(data.classes) == tuple(classes):
        return data
    positions = {name: i for i, name in enumerate(classes)}
    moved = torch.tensor([positions.get(name, -1) for name in data.classes])[data.labels]
    is_known = moved >= 0
    return replace(
        data, images=data.images[is_known], labels=moved[is_known], classes=tuple(classes)
    )
