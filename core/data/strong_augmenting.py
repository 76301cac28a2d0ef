"""Stronger augmentation than a cut and a mirror: by kornia, of a whole batch where it is."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import torch

from modpm.core.data.labeled_images import import_extra

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Generator, Tensor

RESIZED_CROP, JITTER, RAND_AUGMENT = KINDS = ("resized-crop", "jitter", "rand-augment")
"""In the order in which they are done."""

_LEAST_SHARE = 0.35
"""Of the image that a resized crop shows."""

_STRENGTH = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1}
_N_GROUPS = 8
"""Parts of a batch that RandAugment treats differently: kornia draws once for all it is given."""


def check_installed(kinds: Sequence[str]) -> None:
    """Check that there is what these kinds need.

    Raises:
        ModpmError: There is not (`missing-extra`).
    """
    if kinds:
        import_extra("kornia", extra="augment")


def augment_more(batch: Tensor, generator: Generator, kinds: Sequence[str]) -> Tensor:
    """Cut images to random parts in their own size, and change colors and shapes at random.

    Args:
        batch: Bytes.
        generator: The only source of chance.
        kinds: Of `KINDS`.

    Shapes:
        batch: uint8 (N, C, H, W) → float32 (N, C, H, W), from 0 to 255.

    Source:
        Szegedy et al., arXiv 1409.4842 (resized crops; Departs: of 35 % at least, not 8 %); Cubuk
        et al., arXiv 1909.13719 (RandAugment, two operations of magnitude 9; Departs: an eighth of
        a batch shares its two).
    """
    images = batch.float() / 255
    is_gray = images.shape[1] == 1
    if is_gray:  # kornia changes the colors of images in color alone
        images = images.expand(-1, 3, -1, -1)
    with torch.random.fork_rng(devices=[]):  # kornia draws from torch's own chance
        torch.manual_seed(int(torch.randint(2**62, (), generator=generator)))
        for kind in KINDS:
            if kind in kinds:
                images = _done(kind, images)
    whole = images.clamp(0, 1) * 255
    return whole.mean(1, keepdim=True) if is_gray else whole


def _done(kind: str, images: Tensor) -> Tensor:
    layer = _layer(kind, tuple(images.shape[2:]))
    parts = images.chunk(_N_GROUPS) if kind == RAND_AUGMENT else [images]
    return torch.cat([layer(part) for part in parts])


@cache
def _layer(kind: str, size: tuple[int, ...]) -> Any:  # noqa: ANN401 -- kornia is an extra
    kornia = import_extra("kornia.augmentation", extra="augment")
    if kind == RESIZED_CROP:
        return kornia.RandomResizedCrop(size, scale=(_LEAST_SHARE, 1.0))
    if kind == JITTER:
        return kornia.ColorJitter(*_STRENGTH.values(), p=1.0)
    return kornia.auto.RandAugment(n=2, m=9)
