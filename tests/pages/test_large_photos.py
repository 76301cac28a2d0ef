"""The page on large photos, on photos of all sizes and a ResNet18 with weights of other classes."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from safetensors.torch import save_file
from tests.pages.blocks import run_document

from modpm.core.networks.resnet import LargeResNet18

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CLASSES = {"cat": 3, "dog": 5, "ship": 8}
N_PHOTOS = 10  # of each class
N_OTHER_CLASSES = 20
SMALLEST, LARGEST = (120, 90), (300, 400)
TURNED, ORIENTATION = 6, 0x0112


def photos(images: list[Image.Image], chance: np.random.Generator) -> Iterator[Image.Image]:
    """Enlarge images to all kinds of sizes; every third is gray, and every third turned."""
    for index, image in enumerate(images):
        wide, high = chance.integers(SMALLEST, np.array(LARGEST) + 1)
        photo = image.resize((int(wide), int(high)), Image.Resampling.BICUBIC)
        if index % 3 == 1:
            photo = photo.convert("L")
        if index % 3 == 2:
            photo = photo.transpose(Image.Transpose.ROTATE_90)
            photo.getexif()[ORIENTATION] = TURNED
        yield photo


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as photo:
        return photo.size


@pytest.fixture
def folder(shared_data: Path, tmp_path: Path) -> Path:
    """Return a folder with photos of three classes, and a network that knows twenty others."""
    chance = np.random.default_rng(0)
    table = pq.read_table(shared_data / "cifar10" / "test-00000-of-00001.parquet").slice(0, 400)
    rows = table.to_pylist()
    for name, label in CLASSES.items():
        (tmp_path / "photos" / name).mkdir(parents=True)
        own = [row["img"]["bytes"] for row in rows if row["label"] == label][:N_PHOTOS]
        images = [Image.open(io.BytesIO(one)).convert("RGB") for one in own]
        for index, photo in enumerate(photos(images, chance)):
            path = tmp_path / "photos" / name / f"{index}.jpg"
            photo.save(path, quality=90, exif=photo.getexif())
    (tmp_path / "photos" / "cat" / "0.jpg").rename(tmp_path / "photo.png")
    weights = LargeResNet18(n_classes=N_OTHER_CLASSES).state_dict()
    save_file(weights, tmp_path / "resnet18.safetensors")
    return tmp_path


@pytest.mark.slow
def test_every_block_of_the_page_runs(repository: Path, folder: Path) -> None:
    assert len({size_of(path) for path in folder.glob("photos/*/*.jpg")}) > N_PHOTOS

    printed = run_document(repository / "docs" / "large-photos.md", folder)

    assert "photo.png" in printed
    assert (folder / "pets.onnx").is_file()
