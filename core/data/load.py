"""`load_data`: whatever the user named as DATA, decoded."""

from __future__ import annotations

import re
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import PIL
import torch

from modpm.core.data.bundled_digits import open_digits
from modpm.core.data.decoding import (
    MAX_IN_MEMORY_BYTES,
    Decoding,
    Streamed,
    decoded_in_memory,
    form_of,
)
from modpm.core.data.given_images import GivenImages, images_of_folder
from modpm.core.data.hub import open_hub_data
from modpm.core.data.image_data import ImageData
from modpm.core.data.image_files import out_of_memory, quiet_decoder
from modpm.core.data.image_folder import open_image_folder
from modpm.core.data.keeping import Decoded, keep, kept
from modpm.core.data.parquet_folder import find_parquet_files, open_parquet_folder
from modpm.core.errors import ModpmError
from modpm.core.kept_images import one_at_a_time, path_for

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modpm.core.data.image_data import Pixels
    from modpm.core.data.labeled_images import LabeledImages

_HUB_ADDRESS = re.compile(r"(?:hf://|https://huggingface\.co/)datasets/([\w.-]+(?:/[\w.-]+)?)/?")


def load_data(
    source: str | Path | GivenImages,
    split: str,
    *,
    skip_bad: bool = False,
    image_size: int | Sequence[int] | None = None,
    channels: int | None = None,
) -> ImageData:
    """Load and decode one split of a data set.

    Args:
        source: `digits`; a folder of parquet files, as the Hub lays them out; a folder of
            class-named folders of images, with or without `train/` and `test/`; a short name
            (`cifar10`, `cifar100`, `mnist`, `fashion_mnist`, `svhn`) or an id of the Hub,
            `owner/name` or `owner/name:configuration`, or its address,
            `hf://datasets/owner/name`. A folder wins over an id; a folder called `digits` is
            named `./digits`; images in memory, or the folder in which a run keeps those that it
            was given.
        split: For example `train` or `test`.
        skip_bad: Leave out images that cannot be decoded, and count them.
        image_size: Height and width to bring every image to; without it, the size that most of
            the images have. One number for both.
        channels: 1 to read every image as a gray one, 3 as one in color, as `prepare_image`
            does; without it, 1 where every image of the split is gray, and else 3.

    Raises:
        ModpmError: The source or the split does not exist, or images cannot be decoded.
    """
    size = _width_and_height(image_size)
    labeled = _open(source, split)
    asked = _Asked(labeled, str(source), split, size, channels)
    try:
        with quiet_decoder():
            return asked.data(asked.decoded(skip_bad=skip_bad))
    except MemoryError as error:
        raise out_of_memory() from error


@dataclass(frozen=True)
class Outline:
    """What is known of a split before a pixel is decoded.

    Attributes:
        source, split, classes: As of the `ImageData` that it will be.
        image_shape: Channels, height and width that its images will have.
    """

    source: str
    split: str
    classes: tuple[str, ...]
    image_shape: tuple[int, int, int]
    _counts: tuple[int, ...]

    def counts(self) -> list[int]:
        """Return the number of images of each class, those included that cannot be decoded."""
        return list(self._counts)


def outline(
    source: str | Path | GivenImages,
    split: str,
    *,
    image_size: int | Sequence[int] | None = None,
    channels: int | None = None,
) -> Outline:
    """Return what `load_data` of the same arguments would give, but for the pixels.

    Args:
        source: As there.
        split: As there.
        image_size: As there.
        channels: As there.

    Raises:
        ModpmError: The source or the split does not exist.
    """
    labeled = _open(source, split)
    with quiet_decoder():
        form = form_of(labeled.images, _width_and_height(image_size), channels)
    counts = np.bincount(labeled.labels, minlength=len(labeled.classes)).tolist()
    return Outline(str(source), split, labeled.classes, form.shape, tuple(counts))


@dataclass(frozen=True)
class _Asked:
    """Images that are asked for.

    Attributes:
        labeled: The images, still encoded.
        source, split: What they were called.
        size: Width and height; None for those of most images.
        channels: 1 or 3; None for those that all images can do with.
    """

    labeled: LabeledImages
    source: str
    split: str
    size: tuple[int, int] | None
    channels: int | None

    def decoded(self, *, skip_bad: bool) -> Decoded:
        """Return the images: from the file that keeps them, if files were named, or decoded now."""
        try:
            path = self._path()
            if path is None:
                return self._without_a_file(skip_bad=skip_bad)
            path.parent.mkdir(parents=True, exist_ok=True)
            with nullcontext() if path.exists() else one_at_a_time(path):
                found = self._kept(path, skip_bad=skip_bad)
                if found is None:
                    keep(path, self._decoding(), skip_bad=skip_bad)
                    found = self._kept(path, skip_bad=skip_bad)
        except OSError:  # a disk that is full or may not be written to, or no room to map a file
            found = None
        return found or self._without_a_file(skip_bad=skip_bad)

    def data(self, decoded: Decoded) -> ImageData:
        """Return decoded images with their labels."""
        labeled = self.labeled
        return ImageData(
            pixels=decoded.pixels,
            labels=torch.from_numpy(labeled.labels)[decoded.positions],
            classes=labeled.classes,
            source=self.source,
            split=self.split,
            n_skipped=len(labeled.images) - len(decoded.positions),
            notes=labeled.notes + decoded.notes,
            moments=decoded.moments,
            pixel_digest=decoded.digest,
            digests=decoded.digests,
            sizes=decoded.sizes,
        )

    def _path(self) -> Path | None:
        if not self.labeled.files:
            return None
        return path_for(self.labeled.files, (self.size, self.channels, PIL.__version__))

    def _kept(self, path: Path, *, skip_bad: bool) -> Decoded | None:
        found = kept(path, self.labeled.images)
        is_whole = found is not None and len(found.positions) == len(self.labeled.images)
        return found if is_whole or skip_bad else None

    def _without_a_file(self, *, skip_bad: bool) -> Decoded:
        decoding, part = self._decoding(), self.labeled.images.in_any_order()
        pixels: Pixels
        if decoding.n_bytes > MAX_IN_MEMORY_BYTES and part is not None:
            for _ in decoding:  # to know which can be decoded, and what they add up to
                pass
            pixels = Streamed(part, torch.tensor(decoding.kept), decoding.form)
        else:
            pixels = torch.from_numpy(decoded_in_memory(decoding))
        decoding.check(skip_bad=skip_bad)
        known = torch.from_numpy(decoding.moments), torch.from_numpy(decoding.digests)
        positions = torch.tensor(decoding.kept)
        return Decoded(pixels, positions, *known, decoding.digest, decoding.notes, decoding.sizes)

    def _decoding(self) -> Decoding:
        return Decoding(
            self.labeled.images,
            form_of(self.labeled.images, self.size, self.channels),
            source=f"{self.source}, split {self.split}",
            is_size_asked=self.size is not None,
        )


def _width_and_height(image_size: int | Sequence[int] | None) -> tuple[int, int] | None:
    if image_size is None:
        return None
    size = [image_size] * 2 if isinstance(image_size, int) else [*image_size]
    if len(size) != 2 or min(size) < 1:  # noqa: PLR2004 -- height and width
        raise ModpmError(
            f"an image size of {' x '.join(map(str, size))} cannot be made",
            code="bad-image-size",
            exit_code=2,
        )
    return size[1], size[0]


def _open(source: str | Path | GivenImages, split: str) -> LabeledImages:
    return (
        source.open(split) if isinstance(source, GivenImages) else _open_named(str(source), split)
    )


def _open_named(source: str, split: str) -> LabeledImages:
    if source == "digits":
        return open_digits(split)
    on_the_hub = _HUB_ADDRESS.fullmatch(source)
    if on_the_hub:
        return open_hub_data(on_the_hub[1], split)
    path = Path(source).expanduser()
    if path.is_dir():
        return _open_folder(path, split)
    if path.exists():
        raise ModpmError(
            "data is a folder, not a file",
            code="data-not-found",
            where=source,
            hint=f"name the folder it is in: {path.parent}",
        )
    if _is_path(source):
        raise ModpmError("there is no such folder of data", code="data-not-found", where=source)
    return open_hub_data(source, split)


def _open_folder(path: Path, split: str) -> LabeledImages:
    parquet_splits = find_parquet_files(path)
    if parquet_splits:
        return open_parquet_folder(path, parquet_splits, split)
    given = images_of_folder(path)
    return open_image_folder(path, split) if given is None else given.open(split)


def _is_path(source: str) -> bool:
    """Say whether the text can only mean a path: the Hub's ids are `name` or `owner/name`."""
    return (
        source.startswith((".", "~", "/"))
        or source.endswith("/")
        or source.count("/") > 1
        or "\\" in source
    )
