"""The ways from photos to a prediction, and from a library's network to published modules."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image
from safetensors.torch import save_file
from tests.networks.other_libraries import library
from tests.pages.reader import picture

from modpm.core.networks import create

if TYPE_CHECKING:
    from collections.abc import Mapping

CLASSES = ("cat", "dog", "ship")
KINDS = ("png", "jpg", "webp", "bmp", "gif", "tiff")
SIZES = ((40, 30), (30, 50), (64, 64), (90, 60))
NETWORK = "test_resnet"
WEIGHTS = f"models--timm--{NETWORK}.r160_in1k"
# Where torchvision was compiled for another torch, what it asks of that is defined by hand.
BESIDE_ANOTHER_TORCH = """
import sys

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "torchvision":
            sys.meta_path.remove(self)
            import torch
            for function in ("nms", "qnms"):
                schema = "(Tensor boxes, Tensor scores, float threshold) -> Tensor"
                torch.library.define(f"torchvision::{function}", schema)

sys.meta_path.insert(0, Finder())
"""


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """Return a folder with photos of all sizes and formats, one that is none, and one more."""
    chance = np.random.default_rng(0)
    for label, name in enumerate(CLASSES):
        folder = tmp_path / "photos" / name
        folder.mkdir(parents=True)
        for index in range(16):
            image = picture(label, chance).resize(SIZES[index % len(SIZES)])
            exif = Image.Exif()
            exif[ExifTags.Base.Orientation] = 6 if index % 5 == 1 else 1
            kind = KINDS[index % len(KINDS)]
            said = exif.tobytes() if kind in {"jpg", "webp"} else b""
            image.save(folder / f"{index}.{kind}", exif=said)
    (tmp_path / "photos" / "cat" / "broken.jpg").write_bytes(b"\xff\xd8\xff no photo")
    picture(0, chance).resize((200, 120)).save(tmp_path / "photo.jpg")
    return tmp_path


def walked(script: Path, here: Path, *words: str, **environment: str) -> str:
    """Run an example as its reader does, and return what it shows."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    own = {"PATH": path, "MODPM_HOME": str(here / "home"), "NO_COLOR": "1", "COLUMNS": "100"}
    done = subprocess.run(
        ["bash", script, *words],
        cwd=here,
        env=os.environ | own | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    return done.stdout


@pytest.mark.slow
def test_photos_of_all_sizes_and_formats_become_a_prediction(repository: Path, here: Path) -> None:
    script = repository / "examples" / "photos.sh"

    shown = walked(script, here, "photos", "photo.jpg", "photos/cat", "photos/dog")

    assert re.search(r"images of \d sizes from 40 x 30 to 90 x 60, read as 64 x 64", shown)
    assert re.search(r"1 of \d+ images cannot be", shown)
    predicted = shown.rpartition("$ modpm predict")[2]
    assert re.search(r"^photo\.jpg +cat +\d+\.\d\d %", predicted, re.MULTILINE), predicted


@pytest.mark.slow
def test_a_network_of_a_library_becomes_published_modules(repository: Path, here: Path) -> None:
    library("timm")
    torch.manual_seed(0)
    (here / "photos" / "cat" / "broken.jpg").unlink()
    snapshot = here / "hub" / WEIGHTS / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    save_file(create(f"timm:{NETWORK}", 1000).state_dict(), snapshot / "model.safetensors")
    (here / "hub" / WEIGHTS / "refs").mkdir()
    (here / "hub" / WEIGHTS / "refs" / "main").write_text("0" * 40)
    (here / "sitecustomize.py").write_text(BESIDE_ANOTHER_TORCH)
    offline: Mapping[str, str] = {
        "HF_HUB_CACHE": str(here / "hub"),
        "HF_HUB_OFFLINE": "1",
        "PYTHONPATH": str(here),
    }

    shown = walked(
        repository / "examples" / "network.sh", here, f"timm:{NETWORK}", "photos", **offline
    )

    assert f"timm:{NETWORK}: its weights are of 1000 classes" in shown
    assert "mean 0.5,0.5,0.5" in shown
    found = shown.rpartition("$ modpm search")[2]
    assert re.findall(r"photos/\w+", found) == [f"photos/{name}" for name in CLASSES]
