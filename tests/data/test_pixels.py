"""Every mode of image becomes 8-bit gray or color without losing what it shows."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import ExifTags, Image

from modpm.core.data.pixels import fit, is_gray, to_eight_bits, upright, upright_size


def _reopened(image: Image.Image, kind: str = "PNG", **options: object) -> Image.Image:
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return Image.open(buffer)


def _ramp() -> np.ndarray:
    return np.arange(256, dtype=np.uint8).reshape(16, 16)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_and_not_clipped(kind: str) -> None:
    image = _reopened(Image.fromarray(_ramp().astype(np.uint16) * 257), kind)
    assert image.mode.startswith("I")
    assert is_gray(image)
    assert np.array_equal(np.asarray(to_eight_bits(image)), _ramp())


def test_sixteen_bit_portable_gray_map_is_scaled() -> None:
    encoded = b"P5 2 1 65535\n" + bytes([0xFF, 0xFF, 0x80, 0x80])
    eight_bits = to_eight_bits(Image.open(BytesIO(encoded)))
    assert np.asarray(eight_bits).tolist() == [[255, 128]]


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_laid_on_white(mode: str) -> None:
    n_colors = len(mode) - 1
    clear = Image.new(mode, (2, 2), (*[7] * n_colors, 0))
    solid = Image.new(mode, (2, 2), (*[7] * n_colors, 255))
    half = Image.new(mode, (2, 2), (*[0] * n_colors, 128))
    values = [np.unique(np.asarray(to_eight_bits(_reopened(i)))) for i in (clear, solid, half)]
    assert [value.tolist() for value in values] == [[255], [7], [127]]
    assert to_eight_bits(clear).mode == ("RGB" if mode == "RGBA" else "L")


def test_transparent_color_of_a_palette_is_laid_on_white() -> None:
    image = Image.new("P", (1, 2))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((0, 1), 1)
    eight_bits = to_eight_bits(_reopened(image, transparency=0))
    assert np.asarray(eight_bits).reshape(2, 3).tolist() == [[255, 255, 255], [40, 50, 60]]


def test_palette_becomes_color() -> None:
    image = Image.new("P", (1, 1))
    image.putpalette([10, 20, 30])
    assert np.asarray(to_eight_bits(_reopened(image))).ravel().tolist() == [10, 20, 30]


def test_four_inks_become_color() -> None:
    image = _reopened(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "TIFF")
    assert image.mode == "CMYK"
    assert np.asarray(to_eight_bits(image))[0, 0].tolist() == [255, 0, 0]


def test_black_and_white_becomes_gray() -> None:
    image = _reopened(Image.fromarray(np.array([[True, False]])))
    assert image.mode == "1"
    assert np.asarray(to_eight_bits(image)).tolist() == [[255, 0]]


@pytest.mark.parametrize(
    "image", [Image.new("F", (1, 1)), Image.new("I", (1, 1), 70_000), Image.new("I", (1, 1), -1)]
)
def test_pixels_without_an_agreed_range_are_refused(image: Image.Image) -> None:
    with pytest.raises(ValueError, match="no agreed range"):
        to_eight_bits(image)


def test_photograph_is_turned_upright() -> None:
    pixels = np.zeros((16, 32, 3), np.uint8)
    pixels[:, :16] = 200  # the left half, which is the top once turned
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6  # turn by a quarter, clockwise
    for kind in ("JPEG", "TIFF", "PNG"):
        image = _reopened(Image.fromarray(pixels), kind, exif=exif)
        assert upright_size(image) == (16, 32)
        turned = np.asarray(upright(image)).astype(int)
        assert turned.shape == (32, 16, 3)
        assert turned[4].mean() > 190
        assert turned[28].mean() < 10


def test_image_of_the_right_size_is_left_alone() -> None:
    image = Image.fromarray(_ramp())
    assert fit(image, 16, 16) is image


def test_wide_image_is_cut_and_not_squeezed() -> None:
    pixels = np.zeros((8, 24), np.uint8)
    pixels[:, 8:16] = 255  # the middle third is all that a square has room for
    assert np.asarray(fit(Image.fromarray(pixels), 8, 8)).min() == 255
