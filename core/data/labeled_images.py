"""Images still encoded, with their labels: what each kind of source opens to."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from modpm.core.errors import ModpmError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image


SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "test": "test",
    "testing": "test",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
}
"""What folders and files of splits are called, and the name of the split."""


def canonical_split(name: str) -> str:
    """Return the name of a split that may be spelled in another usual way."""
    return SPLIT_NAMES.get(name.lower(), name)


IMAGES_AT_ONCE = 256
"""How many images are opened and decoded together, and how many rows are read of a table."""


class ImagePart(Protocol):
    """A few images in a row."""

    def __len__(self) -> int: ...

    def open(self, index: int) -> Image.Image:
        """Open one image, its pixels perhaps not yet decoded; raises what PIL raises."""

    def where(self, index: int) -> str:
        """Say where that image is, for a person to find it."""


class EncodedPart(ImagePart, Protocol):
    """A few images of which the files are not somewhere else."""

    def encoded(self, index: int) -> bytes:
        """Return one image as a file; raises where there is none."""


class EncodedImages(Protocol):
    """Images that are read as they are asked for, in their order."""

    def __len__(self) -> int: ...

    def parts(self) -> Iterator[ImagePart]:
        """Give all of them, a few at a time."""

    def in_any_order(self) -> ImagePart | None:
        """Return all of them, of which any is opened quickly; None if they are read in order."""


@dataclass(frozen=True)
class ArrayImages:
    """Images that are arrays already, in any order.

    Attributes:
        what: What one of them is called.

    Shapes:
        pixels: (N, H, W) for gray ones, (N, H, W, 3) for color; uint8.
    """

    pixels: NDArray[np.uint8]
    what: str = "image"

    def __len__(self) -> int:
        return len(self.pixels)

    def parts(self) -> Iterator[ArrayImages]:
        """Give all of them as one part."""
        yield self

    def in_any_order(self) -> ArrayImages:
        """Return all of them."""
        return self

    def open(self, index: int) -> Image.Image:
        """Return one."""
        from PIL import Image  # noqa: PLC0415 -- what needs no images names splits and extras here

        return Image.fromarray(self.pixels[index])

    def where(self, index: int) -> str:
        """Say which one it is."""
        return f"{self.what} {index}"


@dataclass(frozen=True)
class LabeledImages:
    """Encoded images, one label for each (a position in `classes`).

    Attributes:
        files: What the images are read from, where those are files.
        notes: Sentences about what was left out, for the user to read.

    Shapes:
        labels: (N,), int64.
    """

    images: EncodedImages
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()


def missing_split(source: str, split: str, found: Iterable[str]) -> ModpmError:
    """Return the error for a split that a source does not have."""
    names = ", ".join(f"`{name}`" for name in sorted(found))
    return ModpmError(
        f"the data has no split `{split}`",
        code="split-not-found",
        where=source,
        why=f"the splits found are {names}" if names else "no split was found",
    )


_NEEDED_BY = {"train": "reading this data", "augment": "augmenting images so"}


def import_extra(module: str, extra: str = "train") -> Any:  # noqa: ANN401 - a module of any interface
    """Import a module of an extra, which is not needed to use class modules.

    Args:
        module: Its name.
        extra: What the extra is called.

    Raises:
        ModpmError: It is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ModpmError(
            f"{_NEEDED_BY[extra]} needs the package `{module.partition('.')[0]}`",
            code="missing-extra",
            hint=f'install it with `pip install "modpm[{extra}]"`',
        ) from error
