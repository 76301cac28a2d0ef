"""Class modules that know colors, made by hand, so that it is known what each is worth."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from tests.composition.tiny_origins import CLASSES, TinyOrigin, publish
from torch import Tensor, nn

from modpm.core.formats.manifest import InputContract
from modpm.core.graph import build, trace
from modpm.registry.installing.installation import install
from modpm.registry.publication.publishing import publish as publish_to_registry

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

COLORS = {"bird": (220, 40, 40), "cat": (40, 220, 40), "dog": (40, 40, 220), "frog": (220, 220, 40)}
_WEIGHTS = {"bird": (1, -1, -1), "cat": (-1, 1, -1), "dog": (-1, -1, 1), "frog": (1, 1, -1)}
_BORDERS = {"bird": 0.2, "cat": 0.2, "dog": 0.2, "frog": 1.2}
"""Between the weighted color of a class, and those of all others."""


class MeanColor(nn.Module):
    """A network of which a logit is above 0 where the mean color of an image is that of the class.

    Args:
        shifts: What is added to the logits of some classes.
    """

    def __init__(self, shifts: Mapping[str, float]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1, bias=False)
        self.linear = nn.Linear(3, len(CLASSES))
        weights = torch.tensor([_WEIGHTS[name] for name in CLASSES])
        borders = torch.tensor([_BORDERS[name] for name in CLASSES])
        added = torch.tensor([shifts.get(name, 0.0) for name in CLASSES])
        with torch.no_grad():
            self.conv.weight.copy_(torch.eye(3)[:, :, None, None])
            self.linear.weight.copy_(20 * weights)
            self.linear.bias.copy_(added - 20 * borders)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.linear(self.conv(x).relu().mean((2, 3)))
        return logits


def color_network(n_classes: int) -> MeanColor:
    """Return such a network, as `--arch` makes one."""
    assert n_classes == len(CLASSES)
    return MeanColor({})


class ColorOrigin(TinyOrigin):
    """An origin that knows colors.

    Args:
        namespace: Of its modules.
        size: Height and width of its images.
        shifts: What is added to the logits of some classes.
    """

    def __init__(
        self, namespace: str, *, size: int = 8, shifts: Mapping[str, float] | None = None
    ) -> None:
        plain = MeanColor(shifts or {}).eval()
        super().__init__(MeanColor({}), size=size, namespace=namespace, has_generators=False)
        self.graph, self.tensors = trace(plain, torch.zeros(2, 3, size, size))
        self.input = InputContract(
            channels=3, height=size, width=size, mean=[0.0] * 3, std=[1.0] * 3
        )
        self.network = build(self.graph, self.tensors).eval()


def color_project(folder: Path) -> Path:
    """Publish and install modules of three origins, and return the project.

    `weak` never says cat, `other` knows all and reads larger images, and `greedy` says cat
    of all images.
    """
    weak = ColorOrigin("weak", shifts={"cat": -100})
    modules = [weak.module(name, slope=1.0, intercept=0.0) for name in CLASSES]
    for namespace, size, shift in (("other", 12, 0.0), ("greedy", 8, 100.0)):
        origin = ColorOrigin(namespace, size=size, shifts={"cat": shift})
        modules.append(origin.module("cat", slope=1.0, intercept=0.0))
    distributions = [
        publish(module, folder / "dist" / module.label.replace("/", ".")) for module in modules
    ]
    publish_to_registry(distributions, folder / "registry")
    project = folder / "project"
    project.mkdir()
    install([module.manifest.name for module in modules], project, folder / "registry")
    return project


def make_color_photos(folder: Path, n: int = 20, split: str = "test", size: int = 16) -> Path:
    """Write class-named folders of PNG files of the colors of the classes, with noise."""
    chance = np.random.default_rng(0)
    for name, color in COLORS.items():
        place = folder / split / name
        place.mkdir(parents=True)
        for i in range(n):
            pixels = np.array(color) + chance.integers(-30, 31, (size, size, 3))
            Image.fromarray(pixels.astype(np.uint8)).save(place / f"{i:02}.png")
    return folder
