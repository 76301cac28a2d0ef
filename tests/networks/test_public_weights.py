"""Public weights load by name and do what they were published to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from modpm.core.data import load_data, normalize
from modpm.core.networks import create, load_initial_weights

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from modpm.core.data import ImageData

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


@pytest.fixture(scope="module")
def test_split(shared_data: Path) -> ImageData:
    return load_data(shared_data / "cifar10", "test")


def _is_right(shared_data: Path, data: ImageData) -> Tensor:
    network = create("resnet20", 10).eval()
    load_initial_weights(network, shared_data / "weights" / "resnet20-cifar10.safetensors")
    with torch.inference_mode():
        images = data.images.contiguous(memory_format=torch.channels_last)
        parts = [normalize(images[i : i + 500], MEAN, STD) for i in range(0, len(data), 500)]
        predicted = [network(part).argmax(1) for part in parts]
    return torch.cat(predicted) == data.labels


def test_resnet20_classifies_the_first_images_as_published(
    shared_data: Path, test_split: ImageData
) -> None:
    is_right = _is_right(shared_data, test_split.select(range(2000)))
    # One image may fall either way by the order of floating-point sums.
    assert abs(int(is_right.sum()) - 1833) <= 1


@pytest.mark.slow
def test_resnet20_reaches_its_published_accuracy(shared_data: Path, test_split: ImageData) -> None:
    assert abs(int(_is_right(shared_data, test_split).sum()) - 9173) <= 1
