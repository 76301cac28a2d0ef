"""Normalizing is the formula, and its statistics are those of the pixels."""

from __future__ import annotations

import pytest
import torch

from modpm.core.data import ImageData, default_statistics, normalize

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_normalizing_can_be_undone(memory_format: torch.memory_format) -> None:
    images = torch.randint(256, (3, 3, 5, 4), dtype=torch.uint8)
    images = images.contiguous(memory_format=memory_format)
    normalized = normalize(images, MEAN, STD)
    assert normalized.dtype == torch.float32
    assert normalized.is_contiguous(memory_format=memory_format)
    mean, std = torch.tensor(MEAN).view(3, 1, 1), torch.tensor(STD).view(3, 1, 1)
    assert torch.equal(((normalized * std + mean) * 255).round().to(torch.uint8), images)


def test_normalizing_leaves_its_input_alone() -> None:
    images = torch.randint(256, (2, 1, 3, 3), dtype=torch.uint8)
    before = images.clone()
    normalize(images, [0.5], [0.5])
    assert torch.equal(images, before)


def test_default_statistics_are_those_of_all_pixels() -> None:
    images = torch.randint(256, (1500, 3, 4, 5), dtype=torch.uint8)
    images[:, 1] //= 3
    mean, std = default_statistics(
        ImageData(images, torch.zeros(1500, dtype=torch.int64), ("a",), "", "")
    )
    pixels = images.double().div(255).transpose(0, 1).reshape(3, -1)
    assert mean == pytest.approx(pixels.mean(1).tolist(), abs=1e-12)
    assert std == pytest.approx(pixels.std(1, correction=0).tolist(), abs=1e-12)


def test_channel_that_never_varies_can_be_divided_by() -> None:
    images = torch.full((2, 1, 3, 3), 255, dtype=torch.uint8)
    data = ImageData(images, torch.zeros(2, dtype=torch.int64), ("a",), "", "")
    assert default_statistics(data) == ([1.0], [1.0])
