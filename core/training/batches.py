"""Batches of training images: drawn, augmented and normalized, the same on every run."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from modpm.core.data import augment, is_mirrorable, normalize
from modpm.core.data.image_data import Selected, in_chunks
from modpm.core.data.strong_augmenting import RESIZED_CROP, augment_more
from modpm.core.tensors import send

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from torch import Tensor

    from modpm.core.data.image_data import ImageData, Pixels
    from modpm.core.formats.manifest import InputContract


_PROCESSOR = torch.device("cpu")
_NEAR_BYTES = 2**29  # so many that are mapped stay in memory once they were read
_N_AHEAD = 4  # batches
_SHARE_OF_DEVICE = 0.5  # of its free memory, for images; the rest is for training


class Batch(NamedTuple):
    """Images that a network can read, and their classes, on the processor.

    Shapes:
        images: float32 (N, C, H, W)
        labels: int64 (N,)
    """

    images: Tensor
    labels: Tensor


class ReadAhead:
    """Images read in a thread before they are needed, where it is known which will be.

    Args:
        pixels: Where they are read.
        is_pinned: Whether to a memory that a device can read by itself.
    """

    def __init__(self, pixels: Pixels, *, is_pinned: bool) -> None:
        self._pixels, self._is_pinned = pixels, is_pinned
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="reading")
        self._order: Iterator[Tensor] = iter(())
        self._begun: deque[tuple[Tensor, Future[Tensor]]] = deque()

    def begin(self, order: Iterable[Tensor]) -> None:
        """Begin to read the images at these positions, a few batches ahead of their use."""
        for _, read in self._begun:
            read.cancel()
        self._begun.clear()
        self._order = iter(order)
        for positions in islice(self._order, _N_AHEAD):
            self._begin(positions)

    def read(self, positions: Tensor) -> Tensor:
        """Return the images at some positions: those that come next, or read now."""
        if not (self._begun and torch.equal(self._begun[0][0], positions)):
            return self._read(positions)
        _, read = self._begun.popleft()
        for following in islice(self._order, 1):
            self._begin(following)
        return read.result()

    def _begin(self, positions: Tensor) -> None:
        self._begun.append((positions, self._reader.submit(self._read, positions)))

    def _read(self, positions: Tensor) -> Tensor:
        images = self._pixels[positions]
        return images.pin_memory() if self._is_pinned else images


@dataclass(frozen=True)
class TrainingImages:
    """Decoded images in memory, from which batches are made.

    Attributes:
        data: The images, labels on the processor.
        contract: How they are normalized.
        device: Where batches are made; the images are there as bytes if they fit.
        kinds: Of augmentation, besides the cut and the mirror: of `strong_augmenting.KINDS`.
        may_flip: Whether images may be mirrored.
    """

    data: ImageData
    contract: InputContract
    device: torch.device = _PROCESSOR
    kinds: tuple[str, ...] = ()
    may_flip: bool = True

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

    def expect(self, order: Iterable[Tensor]) -> None:
        """Read ahead, in a thread, what batches will be asked for, where reading takes time.

        Args:
            order: The positions of each batch.
        """
        if self._are_far:
            self._ahead.begin(order)

    @cached_property
    def _are_far(self) -> bool:
        """Whether images are decoded as they are read, or perhaps on a disk."""
        pixels = self.data.pixels
        where = pixels.others if isinstance(pixels, Selected) else pixels
        is_small = pixels.shape.numel() <= _NEAR_BYTES
        return self.pixels is pixels and not (isinstance(where, torch.Tensor) and is_small)

    @cached_property
    def _ahead(self) -> ReadAhead:
        return ReadAhead(self.pixels, is_pinned=self.device.type == "cuda")

    def _at(self, positions: Tensor) -> Tensor:
        if self._are_far:
            return send(self._ahead.read(positions), self.device)
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
            is_mirrored=self.may_flip and is_mirrorable(self.data.classes),
            fill=[255 * value for value in mean],
            padding=0 if RESIZED_CROP in self.kinds else None,
        )
        if self.kinds:
            images = augment_more(images, generator, self.kinds)
        normalized = normalize(images, mean, std).contiguous(memory_format=torch.channels_last)
        return Batch(normalized, self.data.labels[positions])


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


def epoch_order(
    n_images: int, batch_size: int, generator: torch.Generator, labels: Tensor | None = None
) -> list[Tensor]:
    """Return the positions of each batch of an epoch: a permutation, cut into full batches.

    The images of a last batch that is not full are left out; they differ from epoch to epoch.

    Args:
        n_images: How many there are.
        batch_size: How many a batch has.
        generator: The only source of chance.
        labels: To draw images, again and again, so that each class comes equally often; None for a
            permutation.
    """
    n_used = min(n_images, n_steps(n_images, batch_size) * batch_size)
    if labels is None:
        order = torch.randperm(n_images, generator=generator)
    else:
        weights = 1 / torch.bincount(labels)[labels].double()
        order = torch.multinomial(weights, n_used, replacement=True, generator=generator)
    return list(torch.split(order[:n_used], batch_size))
