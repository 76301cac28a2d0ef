"""Random crops and mirror images of a whole batch at once."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import torch

from modpm.core.tensors import send

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Generator, Tensor

_IS_CHARACTER = re.compile(
    r"\d+( - \w+)?|\w|zero|one|two|three|four|five|six|seven|eight|nine", re.IGNORECASE
)
_HAS_SIDE = re.compile(r"\b(left|right)\b", re.IGNORECASE)


def is_mirrorable(classes: Sequence[str]) -> bool:
    """Say whether a mirrored image still shows its class.

    It does not where every class is a numeral or a letter, or any is named after a side.
    """
    are_characters = all(_IS_CHARACTER.fullmatch(name) for name in classes)
    have_sides = any(_HAS_SIDE.search(name.replace("_", " ")) for name in classes)
    return not are_characters and not have_sides


def default_padding(image_size: int) -> int:
    """Return the padding for random crops: 4 for 32 pixels, as is usual for CIFAR, 1 for 8."""
    return max(1, round(image_size / 8))


def augment(
    batch: Tensor,
    generator: Generator,
    *,
    is_mirrored: bool,
    fill: Sequence[float] | None = None,
    padding: int | None = None,
) -> Tensor:
    """Pad each image, cut it out again at a random place, and mirror half of them.

    Args:
        batch: Images, bytes or normalized.
        generator: The only source of chance, of the processor: it draws the same on all devices.
        is_mirrored: Whether half of the images, drawn at random, are mirrored left to right.
        fill: What the padding shows, per channel, in the batch's own values: 0 by default, which
            is the mean in a normalized batch; for bytes give 255 · mean for the same.
        padding: Pixels on each side; `default_padding` of the smaller side by default.

    Shapes:
        batch: (N, C, H, W) → (N, C, H, W), of the same type.

    Source:
        He et al., arXiv 1512.03385, section 4.2.
    """
    n, _, height, width = batch.shape
    p = default_padding(min(height, width)) if padding is None else padding
    drawn = torch.randint(2 * p + 1, (2, n), generator=generator)
    top, left = send(drawn, batch.device)
    # (N, 2p + 1, 2p + 1, C, H, W): every place to cut, as views of the same memory.
    places = _padded(batch, p, fill).unfold(1, height, 1).unfold(2, width, 1)
    cropped = places[torch.arange(n, device=batch.device), top, left]
    if not is_mirrored:
        return cropped
    is_flipped = send(torch.rand(n, generator=generator) < 0.5, batch.device)  # noqa: PLR2004 - half of them
    return torch.where(is_flipped[:, None, None, None], cropped.flip(3), cropped)


def _padded(batch: Tensor, p: int, fill: Sequence[float] | None) -> Tensor:
    """Return the batch between p pixels of fill: (N, C, H, W) → (N, H + 2p, W + 2p, C)."""
    n, channels, height, width = batch.shape
    padded = batch.new_zeros(n, height + 2 * p, width + 2 * p, channels)
    if fill is not None:
        values = send(torch.tensor(fill), batch.device)
        padded[:] = values if batch.is_floating_point() else values.round()
    padded[:, p : p + height, p : p + width] = batch.permute(0, 2, 3, 1)
    return padded
