"""Comparing the scores of two class modules on images that are the same everywhere and for ever."""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F  # noqa: N812 -- torch's own name for it

from modpm.core.composition.class_module import ClassModule

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from modpm.core.formats.manifest import InputContract

N_IMAGES = 16
MAX_PIXELS = 2**23
SEED = b"modpm probe batch 1"
BLOCKS = (1, 2, 4, 8)


def probe_batch(contract: InputContract) -> Tensor:
    """Return the probe batch of an input contract (V-10).

    Image i has blocks of 1, 2, 4 or 8 pixels a side, in turn, each of one colour by chance: its
    bytes are those of SHAKE-256 of the seed and i. Large images are fewer.

    Args:
        contract: What an image must be.

    Shapes:
        → (N, channels, height, width), bytes
    """
    shape = (contract.channels, contract.height, contract.width)
    n = max(1, min(N_IMAGES, MAX_PIXELS // math.prod(shape)))
    return torch.stack([_image(i, *shape) for i in range(n)])


def score_difference(before: Path, after: Path) -> float:
    """Return by how much the scores of two class modules differ at most on the probe batch.

    Args:
        before: A distribution.
        after: Another, of the same input contract.

    Raises:
        ModpmError: What `ClassModule.from_folder` raises.
    """
    old, new = ClassModule.from_folder(before), ClassModule.from_folder(after)
    images = probe_batch(old.input)
    difference = (old.score_images(images) - new.score_images(images)).abs().max()
    # What is not a number is the same as nothing, and must not pass for no difference.
    return difference.item() if difference.isfinite() else math.inf


def _image(i: int, channels: int, height: int, width: int) -> Tensor:
    side = BLOCKS[i % len(BLOCKS)]
    rows, columns = math.ceil(height / side), math.ceil(width / side)
    chance = hashlib.shake_256(SEED + bytes([i])).digest(channels * rows * columns)
    blocks = torch.frombuffer(bytearray(chance), dtype=torch.uint8)
    image = F.interpolate(
        blocks.view(1, channels, rows, columns).float(), scale_factor=side, mode="nearest"
    )
    return image[0, :, :height, :width].to(torch.uint8)
