"""Public weights load by name and do what they were published to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from modpm.core.data import load_data, normalise
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
    network = create("resnet20", 10).eval().to(memory_format=torch.channels_last)
    load_initial_weights(network, shared_data / "weights" / "resnet20-cifar10.safetensors")
    with torch.inference_mode():
        predicted = [
            network(normalise(part, MEAN, STD)).argmax(1) for part in data.images.split(500)
        ]
    return torch.cat(predicted) == data.labels


def test_resnet20_classifies_the_first_images_as_published(
    shared_data: Path, test_split: ImageData
) -> None:
    is_right = _is_right(shared_data, test_split.select(range(2000)))
    assert abs(int(is_right.sum()) - 1838) <= 1


@pytest.mark.slow
def test_resnet20_reaches_its_published_accuracy(shared_data: Path, test_split: ImageData) -> None:
    # 9,173 of 10,000; one image may fall either way by the order of floating-point sums.
    assert abs(int(_is_right(shared_data, test_split).sum()) - 9173) <= 1
