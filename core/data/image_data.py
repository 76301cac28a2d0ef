"""Images with labels, decoded: what training and evaluation read."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from modpm.core.errors import ModpmError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

N_HELD_OUT = 2
"""How many images of each class are held out at least: scores are fitted in two halves."""

_CHUNK_BYTES = 2**20


N_TO_ONE = 10
"""How many images of the most frequent class to one of the rarest make a data set unbalanced."""


class Sizes(NamedTuple):
    """The sizes that images had before they were brought to one, each width and height.

    Attributes:
        n: How many different ones.
        smallest, largest: Those with the fewest and the most pixels.
    """

    n: int
    smallest: tuple[int, int]
    largest: tuple[int, int]


class Pixels(Protocol):
    """Decoded images, wherever they are: a tensor, or what reads those that are asked for.

    Shapes:
        (N, C, H, W), uint8.
    """

    @property
    def shape(self) -> torch.Size:
        """Of all of them."""

    def __len__(self) -> int: ...

    def __getitem__(self, which: slice | Tensor, /) -> Tensor:
        """Read some, by their positions, in that order."""


@dataclass(frozen=True, eq=False)
class Selected:
    """Some images out of others, read where those are when they are needed.

    Attributes:
        others: All that there are.
        positions: Which of them.
    """

    others: Pixels
    positions: Tensor

    @property
    def shape(self) -> torch.Size:
        """Of those that are selected."""
        return torch.Size((len(self), *self.others.shape[1:]))

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, which: slice | Tensor, /) -> Tensor:
        """Read some of them."""
        return self.others[self.positions[which]]


def _selected(pixels: Pixels, positions: Tensor) -> Selected:
    if isinstance(pixels, Selected):  # then without another step to where they are
        return Selected(pixels.others, pixels.positions[positions])
    return Selected(pixels, positions)


@dataclass(frozen=True, eq=False)
class ImageData:
    """Images of one size with their labels.

    Attributes:
        pixels: The images.
        labels: int64, positions in `classes`.
        classes: Names of the classes.
        source: What the user named: `digits`, a folder, or an id of the Hub.
        split: For example `train`.
        n_skipped: Images that could not be decoded and were left out.
        notes: Sentences about what was done to the images, for the user to read.
        moments: Of each image and channel the sum of its pixels and of their squares, where they
            are known already.
        pixel_digest: As `digest_of`, where it is known already.
        digests: As `digests_of`, where they are known already.
        sizes: Those that were found, where they are known.

    Shapes:
        pixels: (N, C, H, W), C = 1 or 3.
        labels, digests: (N,).
        moments: int64 (N, C, 2).
    """

    pixels: Pixels
    labels: Tensor
    classes: tuple[str, ...]
    source: str
    split: str
    n_skipped: int = 0
    notes: tuple[str, ...] = field(default=())
    moments: Tensor | None = None
    pixel_digest: str | None = None
    digests: Tensor | None = None
    sizes: Sizes | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def images(self) -> Tensor:
        """All images at once; uint8 (N, C, H, W)."""
        return self.pixels[:]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of one image."""
        channels, height, width = self.pixels.shape[1:]
        return channels, height, width

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over the names of the classes, the shape, the labels, and the pixels' digest."""
        digest = hashlib.sha256("\0".join(self.classes).encode())
        digest.update(str(tuple(self.pixels.shape)).encode())
        digest.update(self.labels.to("cpu", torch.int64).numpy().astype("<i8").tobytes())
        digest.update((self.pixel_digest or digest_of(self.pixels)).encode())
        return f"sha256:{digest.hexdigest()}"

    @property
    def image_digests(self) -> Tensor:
        """What tells each image from others, whatever it is called: as `digests_of`."""
        return digests_of(self.pixels) if self.digests is None else self.digests

    def select(self, indices: Tensor | Sequence[int]) -> ImageData:
        """Return the images at those positions, in that order; none is read or copied."""
        positions = torch.as_tensor(indices, dtype=torch.int64)
        return replace(
            self,
            pixels=_selected(self.pixels, positions),
            labels=self.labels[positions],
            moments=None if self.moments is None else self.moments[positions],
            pixel_digest=None,
            digests=None if self.digests is None else self.digests[positions],
        )

    def counts(self) -> list[int]:
        """Return the number of images of each class."""
        counts: list[int] = torch.bincount(self.labels, minlength=len(self.classes)).tolist()
        return counts


def aligned(data: ImageData, classes: Sequence[str]) -> ImageData:
    """Return the images of some classes, labeled by their positions among them.

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
    known = (moved >= 0).nonzero().flatten()
    return replace(data.select(known), labels=moved[known], classes=tuple(classes))


def imbalance(counts: Sequence[int]) -> float:
    """Return how many images the most frequent class has to one of the rarest that has any."""
    present = [count for count in counts if count]
    return max(present) / min(present) if present else 1.0


def in_chunks(pixels: Pixels, n_at_once: int | None = None) -> Iterator[Tensor]:
    """Read all images in order; of none, an empty part.

    Args:
        pixels: The images.
        n_at_once: How many; by default so many that they take little memory.
    """
    step = n_at_once or max(1, _CHUNK_BYTES // max(1, pixels.shape[1:].numel()))
    for start in range(0, max(1, len(pixels)), step):
        yield pixels[start : start + step]


def digest_of(pixels: Pixels) -> str:
    """Return the sha256 of every pixel, in order."""
    digest = hashlib.sha256()
    for chunk in in_chunks(pixels):
        digest.update(chunk.cpu().contiguous().numpy().data)
    return digest.hexdigest()


def digests_of(pixels: Pixels) -> Tensor:
    """Return the beginning of the sha256 of each image.

    Shapes:
        returns: int64 (N,).
    """
    chunks = (chunk.cpu().contiguous().numpy() for chunk in in_chunks(pixels))
    begun = (hashlib.sha256(image.data).digest()[:8] for chunk in chunks for image in chunk)
    return torch.from_numpy(np.frombuffer(b"".join(begun), "<i8").astype(np.int64))


def moments_of(pixels: Pixels) -> Tensor:
    """Return the sum of the pixels of each image and channel, and the sum of their squares.

    Shapes:
        returns: int64 (N, C, 2).
    """
    moments = np.empty((len(pixels), pixels.shape[1], 2), np.int64)
    n = 0
    for chunk in in_chunks(pixels):
        values, own = chunk.cpu().flatten(2).numpy(), moments[n : n + len(chunk)]
        # Neither makes another array of all the values.
        own[..., 0] = values.sum(2, dtype=np.int64)
        own[..., 1] = np.einsum("ncp,ncp->nc", values, values, dtype=np.int64)
        n += len(chunk)
    return torch.from_numpy(moments)


class Counted(Protocol):
    """Labeled images, whether they are decoded or not."""

    @property
    def source(self) -> str:
        """The data set's name."""

    @property
    def split(self) -> str:
        """What the images are called."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""

    def counts(self) -> list[int]:
        """Return the number of images of each class."""


def check_trainable(data: Counted) -> None:
    """Check that there are two classes at least, and three images at least of each.

    Raises:
        ModpmError: There are not; each class that lacks images is named.
    """
    where = f"{data.source}, split {data.split}"
    if len(data.classes) < 2:  # noqa: PLR2004 - one class cannot be told from anything
        raise ModpmError(
            "the data has one class only",
            code="one-class",
            where=where,
            why=f"every image is of `{data.classes[0]}`" if data.classes else None,
            hint="a classifier needs images of at least two classes",
        )
    rare = [
        f"`{name}` has {count or 'none'}"
        for name, count in zip(data.classes, data.counts(), strict=True)
        if count <= N_HELD_OUT
    ]
    if rare:
        raise ModpmError(
            "a class has too few images to hold some out for validation",
            code="too-few-images",
            where=where,
            why=", ".join(rare[:10]) + (f" and {len(rare) - 10} more" if len(rare) > 10 else ""),  # noqa: PLR2004 -- the same ten
            hint=f"every class needs one image to train on and {N_HELD_OUT} to hold out; "
            "add some or remove the class",
        )
