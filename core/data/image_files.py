"""Opening images that strangers made: only picture formats, and never a decompression bomb."""

from __future__ import annotations

import contextlib
import warnings
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError, features

from modpm.core.data.pixels import to_array, to_eight_bits, upright
from modpm.core.errors import ModpmError
from modpm.core.formats.stand_ins import stand_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from modpm.core.formats.manifest import InputContract

MAX_PIXELS = 89_478_485
"""The number at which PIL begins to warn: 256 MiB of color."""

FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM")
"""Formats that hold nothing but pixels; PIL knows others that run an interpreter."""

_SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm"),
)


@cache
def formats() -> dict[str, tuple[str, ...]]:
    """Return the formats that can be read here, and the suffixes of those that not all can read."""
    found: dict[str, tuple[str, ...]] = dict.fromkeys(FORMATS, ())
    if features.check("avif"):
        found["AVIF"] = (".avif",)
    if find_spec("pillow_heif") is not None:
        import_module("pillow_heif").register_heif_opener()
        found["HEIF"] = (".heic", ".heif")
    return found


@cache
def suffixes() -> frozenset[str]:
    """Return the suffixes of images that can be read here, in lower case."""
    return frozenset(_SUFFIXES).union(*formats().values())


class BadImageError(Exception):
    """An image that cannot be decoded; the message says why in words for a user."""


@contextlib.contextmanager
def quiet_decoder() -> Iterator[None]:
    """Keep PIL's warnings of odd metadata from the user; enter it once around many images."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def refusals_of_the_decoder() -> Iterator[None]:
    """Turn whatever a decoder raises on a damaged file into `BadImageError`.

    Raises:
        ModpmError: There is not enough memory, which says nothing of the image (`out-of-memory`).
    """
    try:
        yield
    except (BadImageError, ModpmError):
        raise
    except MemoryError as error:
        raise out_of_memory() from error
    except UnidentifiedImageError as error:
        raise BadImageError("it is not an image of a known format") from error
    except Image.DecompressionBombError as error:
        raise BadImageError(_enormous()) from error
    except Exception as error:  # a decoder may raise anything on a damaged file
        if "out of memory" in str(error):  # how PIL's own decoders say so
            raise out_of_memory() from error
        raise BadImageError(str(error) or type(error).__name__) from error


def out_of_memory() -> ModpmError:
    """Return the error for images that need more memory than there is."""
    return ModpmError(
        "there is not enough memory to decode the images",
        code="out-of-memory",
        hint="make the images smaller, or give the process more memory",
    )


def open_encoded(source: Path | BinaryIO) -> Image.Image:
    """Open an image without decoding its pixels.

    Raises:
        BadImageError: It has too many pixels, or stands in the place of an image.
        OSError: And whatever else PIL raises where it is no image.
    """
    try:
        image = Image.open(source, formats=tuple(formats()))
    except UnidentifiedImageError:
        if (found := stand_in(source)) is None:
            raise
        raise BadImageError("; ".join(found)) from None
    if image.width * image.height > MAX_PIXELS:
        image.close()
        raise BadImageError(_enormous(image.width, image.height))
    return image


def _enormous(width: int | None = None, height: int | None = None) -> str:
    size = "" if width is None else f" ({width} x {height})"
    return f"it is enormous{size}: more than {MAX_PIXELS:,} pixels are refused"


def open_image(path: Path | str) -> Image.Image:
    """Open and decode an image file that a user named: upright, 8-bit gray or color.

    Raises:
        ModpmError: There is no such file, it is a folder, not an image, damaged or enormous.
    """
    path = Path(path)
    if path.is_dir():
        raise ModpmError(
            "an image was expected, not a folder",
            code="not-an-image",
            where=str(path),
            hint=f"name its images: {path}/*",
        )
    if not path.exists():
        raise ModpmError("there is no such image", code="image-not-found", where=str(path))
    return decode_image(path, str(path))


def decode_image(source: Path | BinaryIO, where: str | None) -> Image.Image:
    """Decode an encoded image: upright, 8-bit gray or color.

    Args:
        source: Its bytes.
        where: What it is called in errors.

    Raises:
        ModpmError: It is no image, damaged or enormous (`bad-image`); `out-of-memory`.
    """
    try:
        with quiet_decoder(), refusals_of_the_decoder(), open_encoded(source) as image:
            return to_eight_bits(upright(image)).copy()
    except BadImageError as error:
        raise ModpmError(
            "the image cannot be used", code="bad-image", where=where, why=str(error)
        ) from error


def prepare_image(image: Image.Image, contract: InputContract) -> Tensor:
    """Return an image as a network with that input contract sees it, before normalizing.

    Any mode becomes 8-bit gray or color; any size is scaled to cover the contract's and cut.

    Shapes:
        (C, H, W), uint8.

    Raises:
        ModpmError: The image cannot be decoded or has no agreed range of values.
    """
    mode = "L" if contract.channels == 1 else "RGB"
    try:
        with quiet_decoder(), refusals_of_the_decoder():
            pixels = to_array(image, mode, contract.width, contract.height)
    except BadImageError as error:
        name = getattr(image, "filename", None)
        raise ModpmError(
            "the image cannot be used", code="bad-image", where=name or None, why=str(error)
        ) from error
    channels_last = np.array(pixels).reshape(contract.height, contract.width, contract.channels)
    return torch.from_numpy(channels_last).permute(2, 0, 1).contiguous()
