from __future__ import annotations

import pytest
import torch

from modpm.core.data import ImageData
from modpm.core.data.strong_augmenting import KINDS, augment_more
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


def test_a_balanced_epoch_shows_each_class_equally_often() -> None:
    labels = torch.tensor([0] * 900 + [1] * 90 + [2] * 10)
    drawn = epoch_order(1000, 30, seeded_generator(0, 0, 0), labels)
    assert {len(batch) for batch in drawn} == {30}
    shown = torch.cat(drawn)
    counts = torch.bincount(labels[shown], minlength=3)
    assert len(shown) == 990
    assert (counts - 330).abs().max() < 60  # four deviations of as many draws
    assert torch.equal(shown, torch.cat(epoch_order(1000, 30, seeded_generator(0, 0, 0), labels)))
    few = epoch_order(7, 10, seeded_generator(0, 0, 0), torch.tensor([0] * 6 + [1]))
    assert [len(batch) for batch in few] == [7]


def test_images_are_not_mirrored_where_that_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modpm.core.data.augmenting.default_padding", lambda _size: 0)
    left = torch.zeros(8, 3, 8, 8, dtype=torch.uint8)
    left[..., :4] = 255
    source = some_images()
    data = ImageData(left, torch.arange(8) % 2, ("cat", "dog"), "made up", "train")
    for may_flip in (True, False):
        images = TrainingImages(data, source.contract, may_flip=may_flip)
        batch = images.batch(torch.arange(8), seeded_generator(0, 0, 1)).images
        n_mirrored = int((batch[:, 0, 0, 0] < 0).sum())
        assert (n_mirrored > 0) == may_flip


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_stronger_augmentation_draws_from_the_same_chance_alone(kind: str, channels: int) -> None:
    pytest.importorskip("kornia", reason="the extra `augment` is not installed")
    chance = torch.Generator().manual_seed(0)
    smooth = torch.rand(20, channels, 4, 6, generator=chance)
    batch = (255 * torch.nn.functional.interpolate(smooth, (16, 24))).to(torch.uint8)
    torch.manual_seed(5)
    first = augment_more(batch, seeded_generator(0, 0, 1), [kind])
    state = torch.get_rng_state()
    torch.manual_seed(6)
    again = augment_more(batch, seeded_generator(0, 0, 1), [kind])
    other = augment_more(batch, seeded_generator(0, 0, 2), [kind])
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert (first.shape, first.dtype) == (batch.shape, torch.float32)
    assert first.min() >= 0
    assert 1 < first.max() <= 255
    assert float((first - batch).abs().mean()) > 1
    torch.manual_seed(5)
    assert torch.equal(state, torch.get_rng_state())
    assert len({float((a - b).abs().sum()) for a, b in zip(first, batch, strict=True)}) > 8


def test_stronger_augmentation_is_normalized_as_a_batch_is() -> None:
    pytest.importorskip("kornia", reason="the extra `augment` is not installed")
    source = some_images()
    strong = TrainingImages(source.data, source.contract, kinds=KINDS)
    images = strong.batch(torch.arange(20), seeded_generator(0, 0, 1)).images
    assert images.shape == (20, 3, 8, 8)
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert images.abs().max() <= 2.0
    assert torch.equal(source.data.images, some_images().data.images)  # none is overwritten


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
