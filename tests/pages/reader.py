"""What a reader of the pages has before reading: photos in folders, and a network of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from pathlib import Path

FOLDERS = {"photos": ("cat", "dog", "ship"), "animals": ("dog", "horse")}
N_IMAGES = 20  # of each class
NETWORK = """
from torch import nn

def make_network(n_classes: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, n_classes),
    )
"""


def picture(label: int, chance: np.random.Generator) -> Image.Image:
    """Return an image whose colors tell its class."""
    color = np.array([100 * label, 255 - 100 * label, 128])
    noise = chance.integers(-20, 20, (32, 32, 3))
    return Image.fromarray((color + noise).clip(0, 255).astype(np.uint8))


def become_reader(folder: Path) -> None:
    """Write what a reader has into a folder."""
    chance = np.random.default_rng(0)
    for name, classes in FOLDERS.items():
        for label, one in enumerate(classes):
            (folder / name / one).mkdir(parents=True)
            for index in range(N_IMAGES):
                picture(label, chance).save(folder / name / one / f"{index}.png")
    picture(0, chance).save(folder / "photo.png")
    (folder / "mynetworks.py").write_text(NETWORK, "utf-8")
