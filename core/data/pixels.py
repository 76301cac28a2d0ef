"""An image of any mode and size as 8-bit gray or color of the size that is asked for."""

from __future__ import annotations

import numpy as np
from PIL import ExifTags, Image, ImageOps

_SIXTEEN_BIT_MODES = frozenset({"I", "I;16", "I;16B", "I;16L", "I;16N"})
_GRAY_MODES = _SIXTEEN_BIT_MODES | {"1", "L", "LA", "La"}
_SIXTEEN_BIT_WHITE = 65535
_FIRST_SIDEWAYS_ORIENTATION = 5


def is_gray(image: Image.Image) -> bool:
    """Say whether the image's mode has no color."""
    return image.mode in _GRAY_MODES


def is_turned(image: Image.Image) -> bool:
    """Say whether its Exif orientation is another than upright."""
    return _orientation(image) > 1


def upright(image: Image.Image) -> Image.Image:
    """Turn a photograph as its Exif orientation says."""
    return ImageOps.exif_transpose(image) if is_turned(image) else image


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Return width and height after `upright`, without decoding a pixel."""
    width, height = image.size
    is_sideways = _orientation(image) >= _FIRST_SIDEWAYS_ORIENTATION
    return (height, width) if is_sideways else (width, height)


def _orientation(image: Image.Image) -> int:
    if "exif" not in image.info:  # asking for it would decode a PNG; a TIFF is turned by PIL
        return 1
    orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    return orientation if isinstance(orientation, int) else 1


def to_eight_bits(image: Image.Image) -> Image.Image:
    """Return the image in mode `L` or `RGB`.

    16-bit gray is scaled, not clipped; transparency is laid on white; a palette and CMYK become
    RGB.

    Raises:
        ValueError: The pixels have no agreed range (floating point, or 32-bit beyond 16).
    """
    if image.mode in _SIXTEEN_BIT_MODES:
        return _from_sixteen_bits(image)
    if image.mode == "F":
        raise ValueError("floating-point pixels have no agreed range")
    if image.has_transparency_data:
        return _on_white(image)
    if image.mode in {"L", "RGB"}:
        return image
    return image.convert("L" if is_gray(image) else "RGB")


def _from_sixteen_bits(image: Image.Image) -> Image.Image:
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > _SIXTEEN_BIT_WHITE:
        raise ValueError("32-bit pixels beyond the range of 16 bits have no agreed range")
    rounded = (values * 255 + _SIXTEEN_BIT_WHITE // 2) // _SIXTEEN_BIT_WHITE
    return Image.fromarray(rounded.astype(np.uint8))


def _on_white(image: Image.Image) -> Image.Image:
    background = Image.new("RGBA", image.size, "white")
    background.alpha_composite(image.convert("RGBA"))
    return background.convert("L" if is_gray(image) else "RGB")


def fit(image: Image.Image, width: int, height: int) -> Image.Image:
    """Scale the image until it covers that size and cut what stands over, evenly.

    An image that has the size is returned as it is.
    """
    if image.size == (width, height):
        return image
    return ImageOps.fit(image, (width, height), method=Image.Resampling.BICUBIC)


def to_array(image: Image.Image, mode: str, width: int, height: int) -> np.ndarray:
    """Return the pixels of an image of any mode and size.

    Args:
        image: Any image.
        mode: `L` for one channel, `RGB` for three.
        width: In pixels.
        height: In pixels.

    Shapes:
        (height, width) for `L`, (height, width, 3) for `RGB`; uint8.

    Raises:
        ValueError: The pixels have no agreed range.
    """
    eight_bits = to_eight_bits(upright(image))
    if eight_bits.mode != mode:
        eight_bits = eight_bits.convert(mode)
    return np.asarray(fit(eight_bits, width, height))
