"""Images that a program has already, as one data set; and the folder that a run keeps them in."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from modpm.core.data.labeled_images import ArrayImages, LabeledImages, missing_split
from modpm.core.errors import ModpmError
from modpm.core.tensors import encode_tensors, load_tensors

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

OWN_DATA = "./data"
"""What a run calls images that it was given: where it keeps them, in its folder."""

_CLASSES_FILE = "classes.json"


class Labeled(NamedTuple):
    """Images of one split, with their labels.

    Shapes:
        images: (N, C, H, W), uint8, C = 1 or 3; labels: (N,), int64.
    """

    images: Tensor
    labels: Tensor


@dataclass(frozen=True, eq=False)
class GivenImages:
    """A data set that is in memory.

    Attributes:
        splits: Images by the name of their split.
        classes: Names of the classes, in the order of the labels.
    """

    splits: Mapping[str, Labeled]
    classes: tuple[str, ...]

    def __str__(self) -> str:
        """Show what a run calls it."""
        return OWN_DATA

    def open(self, split: str) -> LabeledImages:
        """Return the images of a split.

        Raises:
            ModpmError: There is none of that name (`split-not-found`).
        """
        if split not in self.splits:
            raise missing_split(str(self), split, self.splits)
        images, labels = self.splits[split]
        channels_last = images.permute(0, 2, 3, 1)
        pixels = channels_last[..., 0] if images.shape[1] == 1 else channels_last
        return LabeledImages(ArrayImages(pixels.numpy()), labels.numpy(), self.classes)

    def files(self) -> dict[str, bytes]:
        """Return the folder that keeps it: the name and the content of each file."""
        folder = OWN_DATA.removeprefix("./")
        tensors = {split: encode_tensors(some._asdict()) for split, some in self.splits.items()}
        named = {f"{split}.safetensors": data for split, data in tensors.items()}
        named[_CLASSES_FILE] = json.dumps(self.classes).encode()
        return {f"{folder}/{name}": data for name, data in named.items()}

    def is_same(self, other: GivenImages) -> bool:
        """Say whether another one has the same images and labels, in the same order."""
        mine, others = self.splits, other.splits
        return (self.classes, mine.keys()) == (other.classes, others.keys()) and all(
            torch.equal(one, another)
            for split in mine
            for one, another in zip(mine[split], others[split], strict=True)
        )


def images_of_folder(folder: Path) -> GivenImages | None:
    """Return the data set that a folder keeps; None where it keeps none so.

    Raises:
        ModpmError: A file cannot be read, or is not as `files` makes it (`bad-images`).
    """
    paths = sorted(folder.glob("*.safetensors"))
    if not paths or not (folder / _CLASSES_FILE).is_file():
        return None
    try:
        classes = tuple(json.loads((folder / _CLASSES_FILE).read_bytes()))
        return GivenImages({path.stem: Labeled(**load_tensors(path)) for path in paths}, classes)
    except (OSError, ValueError, TypeError) as error:
        raise ModpmError(
            "the images of a run cannot be read",
            code="bad-images",
            where=str(folder),
            why=f"{error!s:.500}",
        ) from error
