"""One image that a user names opens, or says why not."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from PIL import Image

from modpm.core.data import load_data, open_image, prepare_image
from modpm.core.errors import ModpmError
from modpm.core.formats.manifest import InputContract

if TYPE_CHECKING:
    from pathlib import Path


def _contract(channels: int, height: int = 8, width: int = 6) -> InputContract:
    return InputContract(
        channels=1 if channels == 1 else 3,
        height=height,
        width=width,
        mean=[0.5] * channels,
        std=[0.5] * channels,
    )


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "I"])
@pytest.mark.parametrize("channels", [1, 3])
def test_any_mode_and_size_meets_the_contract(mode: str, channels: int) -> None:
    prepared = prepare_image(Image.new(mode, (31, 17)), _contract(channels))
    assert prepared.shape == (channels, 8, 6)
    assert prepared.dtype == torch.uint8


def test_image_that_meets_the_contract_is_unchanged() -> None:
    pixels = np.random.default_rng(0).integers(256, size=(8, 6, 3), dtype=np.uint8)
    prepared = prepare_image(Image.fromarray(pixels), _contract(3))
    assert np.array_equal(prepared.permute(1, 2, 0).numpy(), pixels)


def test_prediction_prepares_an_image_as_loading_did(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(256, size=(40, 50, 4), dtype=np.uint8)
    for name in ("a", "b"):
        (tmp_path / "train" / name).mkdir(parents=True)
        Image.fromarray(pixels).save(tmp_path / "train" / name / "0.png")
    loaded = load_data(tmp_path, "train", image_size=(8, 6)).images[0]
    opened = open_image(tmp_path / "train" / "a" / "0.png")
    assert torch.equal(prepare_image(opened, _contract(3)), loaded)


def test_missing_image_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModpmError, match="no such image"):
        open_image(tmp_path / "absent.png")


def test_folder_is_not_an_image(tmp_path: Path) -> None:
    with pytest.raises(ModpmError, match="not a folder"):
        open_image(tmp_path)


@pytest.mark.parametrize(
    "content", [b"", b"text", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"]
)
def test_what_is_no_picture_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.png").write_bytes(content)
    with pytest.raises(ModpmError, match="not an image of a known format") as caught:
        open_image(tmp_path / "x.png")
    assert caught.value.code == "bad-image"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM"])
def test_every_format_opens_and_is_refused_when_truncated(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "image"
    pixels = np.random.default_rng(0).integers(256, size=(64, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, kind)
    assert open_image(path).size == (64, 64)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ModpmError, match="the image cannot be used") as caught:
        open_image(path)
    assert caught.value.where == str(path)


@pytest.mark.parametrize("size", [(10_000, 9_000), (30_000, 9_000)])
def test_enormous_image_is_refused(tmp_path: Path, size: tuple[int, int]) -> None:
    header = b"IHDR" + struct.pack(">IIBBBBB", *size, 1, 0, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    start = b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 0) + b"IDAT"
    (tmp_path / "bomb.png").write_bytes(start)
    with pytest.raises(ModpmError, match="enormous"):
        open_image(tmp_path / "bomb.png")


def test_image_of_numbers_without_a_range_is_refused(tmp_path: Path) -> None:
    Image.new("F", (4, 4)).save(tmp_path / "x.tiff")
    with pytest.raises(ModpmError, match="no agreed range"):
        open_image(tmp_path / "x.tiff")
    with pytest.raises(ModpmError, match="no agreed range"):
        prepare_image(Image.new("F", (4, 4)), _contract(3))


def test_what_stands_in_the_place_of_an_image_is_named(tmp_path: Path) -> None:
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
    (tmp_path / "a.png").write_bytes(pointer)
    with pytest.raises(ModpmError, match="Git LFS"):
        open_image(tmp_path / "a.png")


def test_what_stands_in_the_place_of_parquet_is_named(tmp_path: Path) -> None:
    (tmp_path / "train.parquet").write_bytes(b"<html><body>Not found</body></html>")
    with pytest.raises(ModpmError, match="a web page"):
        load_data(tmp_path, "train")
