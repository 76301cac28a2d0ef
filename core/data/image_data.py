"""Images with labels, decoded: what training and evaluation read."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import prod
from tempfile import TemporaryFile
from typing import TYPE_CHECKING

import numpy as np
import torch

from modpm.core import kept_images
from modpm.core.errors import ModpmError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

N_HELD_OUT = 2
"""How many images of each class are held out at least: scores are fitted in two halves."""

_CHUNK = 4096
_WORTH_A_FILE = 2**29


@dataclass(frozen=True, eq=False)
class ImageData:
    """Images of one size with their labels.

    Attributes:
        images: uint8.
        labels: int64, positions in `classes`.
        classes: Names of the classes.
        source: What the user named: `digits`, a folder, or an id of the Hub.
        split: For example `train`.
        n_skipped: Images that could not be decoded and were left out.
        notes: Sentences about what was done to the images, for the user to read.

    Shapes:
        images: (N, C, H, W), C = 1 or 3.
        labels: (N,).
    """

    images: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    source: str
    split: str
    n_skipped: int = 0
    notes: tuple[str, ...] = field(default=())

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of one image."""
        channels, height, width = self.images.shape[1:]
        return channels, height, width

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over the names of the classes, the labels, the shape and every pixel, in order."""
        digest = hashlib.sha256("\0".join(self.classes).encode())
        digest.update(str(tuple(self.images.shape)).encode())
        digest.update(self.labels.to("cpu", torch.int64).numpy().astype("<i8").tobytes())
        for start in range(0, len(self), _CHUNK):
            chunk = self.images[start : start + _CHUNK]
            digest.update(chunk.cpu().contiguous().numpy().data)
        return f"sha256:{digest.hexdigest()}"

    def select(self, indices: Tensor | Sequence[int]) -> ImageData:
        """Return the images at those positions, in that order."""
        positions = torch.as_tensor(indices, dtype=torch.int64)
        return replace(self, images=_rows(self.images, positions), labels=self.labels[positions])

    def counts(self) -> list[int]:
        """Return the number of images of each class."""
        counts: list[int] = torch.bincount(self.labels, minlength=len(self.classes)).tolist()
        return counts


def _rows(images: Tensor, positions: Tensor) -> Tensor:
    """Return some images: many in a file without a name that is mapped, so that memory is free.

    Shapes:
        images: (N, C, H, W); positions: (n,) → (n, C, H, W)
    """
    shape = (len(positions), *images.shape[1:])
    if prod(shape) < _WORTH_A_FILE or images.dtype != torch.uint8:
        return images[positions]
    folder = kept_images.folder()  # where disks are; a temporary folder may be in memory
    try:
        with TemporaryFile(dir=folder if folder.is_dir() else None) as file:
            for some in torch.split(positions, _CHUNK):
                file.write(images[some].contiguous().numpy().data)
            file.flush()
            return torch.from_numpy(np.memmap(file, np.uint8, "c", shape=shape))
    except OSError:  # a full disk
        return images[positions]


def check_trainable(data: ImageData) -> None:
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
