from __future__ import annotations

import pytest
import torch

from modpm.core.data import ImageData
from modpm.core.formats.manifest import InputContract
from modpm.core.training.batches import TrainingImages, epoch_order, n_steps, seeded_generator


def some_images() -> TrainingImages:
    chance = torch.Generator().manual_seed(0)
    images = torch.randint(256, (20, 3, 8, 8), generator=chance, dtype=torch.uint8)
    data = ImageData(images, torch.arange(20) % 2, ("cat", "dog"), "made up", "train")
    contract = InputContract(channels=3, height=8, width=8, mean=[0.5] * 3, std=[0.25] * 3)
    return TrainingImages(data, contract)


@pytest.mark.parametrize(("n_images", "batch_size"), [(100, 10), (105, 10), (7, 10), (10, 10)])
def test_an_epoch_shows_each_image_once_in_full_batches(n_images: int, batch_size: int) -> None:
    order = epoch_order(n_images, batch_size, seeded_generator(0, 0, 0))
    shown = torch.cat(order).tolist()
    assert len(order) == n_steps(n_images, batch_size)
    assert {len(batch) for batch in order} == {min(n_images, batch_size)}
    assert len(set(shown)) == len(shown)
    assert set(shown) <= set(range(n_images))


def test_chance_depends_on_seed_epoch_and_stream_alone() -> None:
    def draw(*key: int) -> int:
        return int(torch.randint(2**60, (1,), generator=seeded_generator(*key)))

    keys = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)]
    assert [draw(*key) for key in keys] == [draw(*key) for key in keys]
    assert len({draw(*key) for key in keys}) == len(keys)


def test_batches_of_equal_chance_are_equal() -> None:
    source, positions = some_images(), torch.tensor([3, 1, 4, 1, 5])
    first = source.batch(positions, seeded_generator(0, 0, 1))
    again = source.batch(positions, seeded_generator(0, 0, 1))
    other = source.batch(positions, seeded_generator(0, 1, 1))
    assert torch.equal(first.images, again.images)
    assert not torch.equal(first.images, other.images)
    assert first.labels.tolist() == [1, 1, 0, 1, 1]


def test_batches_are_normalized_and_channels_last() -> None:
    images = some_images().batch(torch.arange(20), seeded_generator(0, 0, 1)).images
    assert images.shape == (20, 3, 8, 8)
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert images.dtype == torch.float32
    assert images.abs().max() <= 2.0  # (0 - 0.5) / 0.25 and (1 - 0.5) / 0.25
    assert images.mean().abs() < 0.1


def test_batches_that_are_read_ahead_are_those_that_are_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    near, order = some_images(), epoch_order(20, 3, seeded_generator(0, 0, 0))
    monkeypatch.setattr("modpm.core.training.batches._NEAR_BYTES", 0)
    far = some_images()
    for asked in (order, order[:2] + order[4:], order[::-1], []):  # as it was said, and otherwise
        far.expect(order)
        for positions in asked:
            expected, found = (
                images.batch(positions, seeded_generator(0, 0, 1)).images for images in (near, far)
            )
            assert torch.equal(expected, found)
