"""A batch is augmented as a loop over its images would."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import pad

from modpm.core.data import augment, is_mirrorable
from modpm.core.data.augmenting import default_padding


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _naive(batch: torch.Tensor, seed: int, padding: int, is_mirrored: bool) -> torch.Tensor:
    generator = _generator(seed)
    n, _, height, width = batch.shape
    top = torch.randint(2 * padding + 1, (n,), generator=generator).tolist()
    left = torch.randint(2 * padding + 1, (n,), generator=generator).tolist()
    is_flipped = torch.rand(n, generator=generator) < 0.5
    augmented = []
    for image, y, x, flip in zip(batch, top, left, is_flipped, strict=True):
        padded = pad(image, (padding, padding, padding, padding))
        crop = padded[:, y : y + height, x : x + width]
        augmented.append(crop.flip(2) if is_mirrored and flip else crop)
    return torch.stack(augmented)


@settings(deadline=None, max_examples=30)
@given(
    n=st.integers(1, 5),
    channels=st.sampled_from([1, 3]),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    padding=st.integers(0, 4),
    is_mirrored=st.booleans(),
    is_float=st.booleans(),
    is_channels_last=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_batched_augmentation_equals_a_loop_over_images(  # noqa: PLR0917 - given by name
    n: int,
    channels: int,
    height: int,
    width: int,
    padding: int,
    is_mirrored: bool,
    is_float: bool,
    is_channels_last: bool,
    seed: int,
) -> None:
    batch = torch.randint(256, (n, channels, height, width), generator=_generator(seed))
    batch = batch.float() if is_float else batch.to(torch.uint8)
    if is_channels_last:
        batch = batch.contiguous(memory_format=torch.channels_last)
    before = batch.clone()
    augmented = augment(batch, _generator(seed), is_mirrored=is_mirrored, padding=padding)
    assert augmented.dtype == batch.dtype
    assert torch.equal(augmented, _naive(batch, seed, padding, is_mirrored))
    assert torch.equal(batch, before)


def test_same_seed_gives_the_same_images() -> None:
    batch = torch.rand(8, 3, 32, 32)
    first = augment(batch, _generator(3), is_mirrored=True)
    assert torch.equal(first, augment(batch, _generator(3), is_mirrored=True))
    assert not torch.equal(first, augment(batch, _generator(4), is_mirrored=True))


def test_fill_is_what_the_padding_shows() -> None:
    batch = torch.zeros(64, 3, 8, 8, dtype=torch.uint8)
    augmented = augment(batch, _generator(0), is_mirrored=False, fill=[10.4, 20.0, 30.6])
    for channel, expected in enumerate([10, 20, 31]):
        assert set(augmented[:, channel].flatten().tolist()) == {0, expected}


def test_half_of_the_images_are_mirrored() -> None:
    batch = torch.arange(2.0).view(1, 1, 1, 2).expand(4000, 1, 1, 2)
    augmented = augment(batch, _generator(0), is_mirrored=True, padding=0)
    # Four standard deviations of a fair coin thrown 4,000 times are 0.032.
    assert augmented[:, 0, 0, 0].mean().item() == pytest.approx(0.5, abs=0.032)


def test_every_place_is_cut_equally_often() -> None:
    batch = torch.arange(64.0).view(1, 1, 8, 8).expand(9000, 1, 8, 8)
    centers = augment(batch, _generator(0), is_mirrored=False)[:, 0, 4, 4]
    counts = torch.bincount(centers.long())
    counts = counts[counts > 0]
    assert len(counts) == 9
    assert counts.min().item() > 850  # 1,000 each; five standard deviations are 149


@pytest.mark.parametrize(("size", "padding"), [(32, 4), (28, 4), (8, 1), (1, 1), (64, 8)])
def test_padding_grows_with_the_image(size: int, padding: int) -> None:
    assert default_padding(size) == padding


@pytest.mark.parametrize(
    ("classes", "expected"),
    [
        (tuple("0123456789"), False),
        (("0 - zero", "1 - one", "9 - nine"), False),
        (("one", "Two"), False),
        (tuple("abcxyz"), False),
        (("airplane", "cat"), True),
        (("cat", "7"), True),
        (("turn_left", "turn_right", "stop"), False),
        (("leftovers", "brights"), True),
    ],
)
def test_characters_and_sides_are_not_mirrored(classes: tuple[str, ...], expected: bool) -> None:
    assert is_mirrorable(classes) is expected
