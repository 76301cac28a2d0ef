"""Decoding a whole data set once, to one tensor of bytes."""

from __future__ import annotations

import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np
import torch

from modpm.core.data.image_files import BadImageError, quiet_decoder, refusals_of_the_decoder
from modpm.core.data.pixels import is_grey, to_array, upright_size
from modpm.core.errors import ModpmError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from torch import Tensor

    from modpm.core.data.labelled_images import EncodedImages

MAX_DECODED_BYTES = 16 * 2**30
_CHUNK = 512
_WORTH_A_THREAD = 2**14
"""Pixels from which decoding, which runs beside other threads, outweighs opening, which cannot."""
_Result = TypeVar("_Result")
_N_SHOWN = 5


class _Header(NamedTuple):
    position: int
    size: tuple[int, int]
    is_grey: bool


class _Bad(NamedTuple):
    position: int
    why: str


@dataclass(frozen=True)
class DecodedImages:
    """The images that could be decoded.

    Attributes:
        images: uint8, one channel if every image is grey, else three.
        kept: Their positions among the encoded images, ascending.
        notes: What was done to them, for the user to read.

    Shapes:
        images: (N, C, H, W).
        kept: (N,).
    """

    images: Tensor
    kept: Tensor
    notes: tuple[str, ...]


def decode_images(
    encoded: EncodedImages, *, image_size: tuple[int, int] | None, skip_bad: bool, source: str
) -> DecodedImages:
    """Decode every image to bytes of one size and one number of channels.

    Args:
        encoded: The images.
        image_size: Width and height; without it, those that most of the images have.
        skip_bad: Leave out images that cannot be decoded, instead of refusing them all.
        source: The data set's name, for errors.

    Raises:
        ModpmError: Images cannot be decoded (the first are named), none is left, or they do not
            fit into memory.
    """
    with quiet_decoder():
        headers, bad = _scan(encoded)
        size = image_size or _commonest([header.size for header in headers])
        pixels = _allocate(len(headers), size, all(header.is_grey for header in headers), source)
        bad += _fill(pixels, encoded, headers)
    if bad and not skip_bad:
        raise _bad_images(encoded, bad, source)
    is_bad = np.isin([header.position for header in headers], [position for position, _ in bad])
    good = [header for header, refused in zip(headers, is_bad, strict=True) if not refused]
    if not good:
        raise _no_images(source, len(bad))
    return DecodedImages(
        images=torch.from_numpy(pixels[~is_bad] if is_bad.any() else pixels),
        kept=torch.tensor([header.position for header in good]),
        notes=() if image_size else _notes_on_sizes(good, size),
    )


def _commonest(sizes: Sequence[tuple[int, int]]) -> tuple[int, int]:
    return Counter(sizes).most_common(1)[0][0] if sizes else (1, 1)


def _scan(encoded: EncodedImages) -> tuple[list[_Header], list[_Bad]]:
    """Read the size and mode of every image, without decoding a pixel."""

    def scan(index: int) -> _Header:
        with encoded.open(index) as image:
            return _Header(index, upright_size(image), is_grey(image))

    return _for_each(scan, range(len(encoded)), n_threads=1)


def _allocate(n: int, size: tuple[int, int], is_all_grey: bool, source: str) -> np.ndarray:
    width, height = size
    shape = (n, 1 if is_all_grey else 3, height, width)
    n_bytes = int(np.prod(shape, dtype=np.int64))
    if n_bytes > MAX_DECODED_BYTES:
        raise ModpmError(
            "the decoded images do not fit into memory",
            code="data-too-large",
            where=source,
            why=f"{n:,} images of {width} x {height} are {n_bytes / 2**30:.0f} GiB",
            hint="ask for smaller images, for example 64 x 64",
        )
    return np.empty(shape, np.uint8)


def _fill(pixels: np.ndarray, encoded: EncodedImages, headers: Sequence[_Header]) -> list[_Bad]:
    """Decode the images that have a header, in order: (N, C, H, W)."""
    _, channels, height, width = pixels.shape
    mode = "L" if channels == 1 else "RGB"
    row_of = {header.position: row for row, header in enumerate(headers)}

    def fill(position: int) -> None:
        with encoded.open(position) as image:
            array = to_array(image, mode, width, height)
        pixels[row_of[position]] = array.reshape(height, width, channels).transpose(2, 0, 1)

    n_threads = (os.cpu_count() or 1) if width * height >= _WORTH_A_THREAD else 1
    return _for_each(fill, [header.position for header in headers], n_threads=n_threads)[1]


def _for_each(
    function: Callable[[int], _Result], indices: Sequence[int], *, n_threads: int
) -> tuple[list[_Result], list[_Bad]]:
    """Call the function for every index in threads; results and refusals in order."""

    def run(start: int) -> tuple[list[_Result], list[_Bad]]:
        results: list[_Result] = []
        bad: list[_Bad] = []
        for index in indices[start : start + _CHUNK]:
            try:
                with refusals_of_the_decoder():
                    results.append(function(index))
            except BadImageError as error:
                bad.append(_Bad(index, str(error)))
        return results, bad

    with ThreadPoolExecutor(n_threads) as pool:
        parts = list(pool.map(run, range(0, len(indices), _CHUNK)))
    return [r for results, _ in parts for r in results], [b for _, bad in parts for b in bad]


def _bad_images(encoded: EncodedImages, bad: Iterable[_Bad], source: str) -> ModpmError:
    bad = sorted(bad)
    named = [f"{encoded.where(index)}: {why}" for index, why in bad[:_N_SHOWN]]
    more = [f"and {len(bad) - _N_SHOWN} more"] if len(bad) > _N_SHOWN else []
    return ModpmError(
        f"{len(bad)} of {len(encoded)} images cannot be decoded",
        code="bad-image",
        where=source,
        why="\n".join(named + more),
        hint="mend or remove them, or leave them out with --skip-bad",
    )


def _no_images(source: str, n_bad: int) -> ModpmError:
    return ModpmError(
        "the data has no images",
        code="no-images",
        where=source,
        why=f"none of its {n_bad} images can be decoded" if n_bad else None,
    )


def _notes_on_sizes(headers: Sequence[_Header], size: tuple[int, int]) -> tuple[str, ...]:
    n_differing = sum(header.size != size for header in headers)
    if not n_differing:
        return ()
    width, height = size
    n = len(headers)
    return (f"{n_differing} of {n} images were resized to {width} x {height}, the commonest size",)
