"""Batches of training images: drawn, augmented and normalised, the same on every run."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from modpm.core.data import augment, is_mirrorable, normalise
from modpm.core.data.image_data import in_chunks
from modpm.core.tensors import send

if TYPE_CHECKING:
    from torch import Tensor

    from modpm.core.data.image_data import ImageData, Pixels
    from modpm.core.formats.manifest import InputContract


_PROCESSOR = torch.device("cpu")
_SHARE_OF_DEVICE = 0.5  # of its free memory, for images; the rest is for training


class Batch(NamedTuple):
    """Images that a network can read, and their classes, on the processor.

    Shapes:
        images: float32 (N, C, H, W)
        labels: int64 (N,)
    """

    images: Tensor
    labels: Tensor


@dataclass(frozen=True)
class TrainingImages:
    """Decoded images in memory, from which batches are made.

    Attributes:
        data: The images, labels on the processor.
        contract: How they are normalised.
        device: Where batches are made; the images are there as bytes if they fit.
    """

    data: ImageData
    contract: InputContract
    device: torch.device = _PROCESSOR

    @cached_property
    def pixels(self) -> Pixels:
        """The images as bytes, on the device if they fit there."""
        if self.device.type == "cpu" or not self._fit:
            return self.data.pixels
        images = torch.empty(self.data.pixels.shape, dtype=torch.uint8, device=self.device)
        n = 0
        for chunk in in_chunks(self.data.pixels):
            images[n : n + len(chunk)] = chunk
            n += len(chunk)
        return images

    @property
    def _fit(self) -> bool:
        if self.device.type != "cuda":
            return True
        free, _ = torch.cuda.mem_get_info(self.device)
        return self.data.pixels.shape.numel() < _SHARE_OF_DEVICE * free

    def _at(self, positions: Tensor) -> Tensor:
        pixels = self.pixels
        on_device = isinstance(pixels, torch.Tensor) and pixels.device.type != "cpu"
        return send(pixels[send(positions, self.device) if on_device else positions], self.device)

    def batch(self, positions: Tensor, generator: torch.Generator) -> Batch:
        """Return the images at some positions, each cut at random and mirrored where that helps.

        Shapes:
            positions: int64 (N,)
        """
        mean, std = self.contract.mean, self.contract.std
        images = augment(
            self._at(positions),
            generator,
            is_mirrored=is_mirrorable(self.data.classes),
            fill=[255 * value for value in mean],
        )
        normalised = normalise(images, mean, std).contiguous(memory_format=torch.channels_last)
        return Batch(normalised, self.data.labels[positions])


def seeded_generator(seed: int, place: int, stream: int) -> torch.Generator:
    """Return a source of chance that depends on nothing but these three numbers.

    Args:
        seed: Of the run.
        place: In the run, such as an epoch or a step: each has its own, so that a resumed run
            draws what the first would have.
        stream: What it is for: each process draws its own augmentations.
    """
    state = np.random.SeedSequence((seed, place, stream)).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]) >> 1)


def n_steps(n_images: int, batch_size: int) -> int:
    """Return the steps of an epoch: full batches only, and one where there is none."""
    return max(1, n_images // batch_size)


def epoch_order(n_images: int, batch_size: int, generator: torch.Generator) -> list[Tensor]:
    """Return the positions of each batch of an epoch: a permutation, cut into full batches.

    The images of a last batch that is not full are left out; they differ from epoch to epoch.
    """
    order = torch.randperm(n_images, generator=generator)
    used = order[: n_steps(n_images, batch_size) * batch_size]
    return list(torch.split(used, batch_size))
