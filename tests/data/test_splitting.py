"""Splits are stratified, complete and always the same."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from modpm.core.data import ImageData, carve_validation
from modpm.core.data.splitting import deal, stratified_split
from modpm.core.errors import ModpmError


def _data(labels: list[int], classes: tuple[str, ...]) -> ImageData:
    images = torch.arange(len(labels), dtype=torch.uint8).view(-1, 1, 1, 1)
    return ImageData(images, torch.tensor(labels, dtype=torch.int64), classes, "test", "train")


@given(
    labels=st.lists(st.integers(0, 4), min_size=1, max_size=40),
    fraction=st.floats(0.01, 0.99),
    seed=st.integers(0, 2**32 - 1),
)
def test_each_class_is_divided_by_the_fraction(
    labels: list[int], fraction: float, seed: int
) -> None:
    array = np.array(labels)
    kept, held_out = stratified_split(array, fraction, seed)
    assert sorted([*kept, *held_out]) == list(range(len(labels)))
    assert sorted(kept) == list(kept)
    assert sorted(held_out) == list(held_out)
    for label in set(labels):
        n = labels.count(label)
        n_held_out = int((array[held_out] == label).sum())
        if n == 1:
            assert n_held_out == 0
        else:
            assert 1 <= n_held_out < n
            assert abs(n_held_out - n * fraction) <= 1


def test_split_never_changes_between_versions() -> None:
    # Written down once: a published fingerprint or accuracy must stay reproducible.
    _, held_out = stratified_split(np.arange(24) % 3, 0.25, seed=7)
    assert held_out.tolist() == [5, 6, 10, 11, 15, 16]


@given(
    some=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 30)), min_size=1, max_size=40),
    another=st.tuples(st.integers(0, 3), st.integers(0, 30)),
)
def test_another_image_moves_none_of_a_class_that_has_enough_in_both_parts(
    some: list[tuple[int, int]], another: tuple[int, int]
) -> None:
    def dealt(images: list[tuple[int, int]]) -> list[bool]:
        labels, places = (np.array(column) for column in zip(*images, strict=True))
        train, test = deal(places / 31, labels, 0.25)
        assert sorted([*train, *test]) == list(range(len(images)))
        for label in range(4):
            own = [{images[i][1] for i in part if images[i][0] == label} for part in (train, test)]
            assert not own[0] & own[1]  # copies are together
            assert len(own[1]) >= min(1, len(own[0] | own[1]) - 1)
            n = len(own[0] | own[1])
            assert len(own[0]) >= min(max(3, n // 2), n - 1)
        return [i in test for i in range(len(images))]

    before, after = dealt(some), dealt([*some, another])
    for (label, place), was_test, is_test in zip(some, before, after, strict=False):
        own = {other for its_label, other in some if its_label == label}
        n_test = sum(other / 31 < 0.25 for other in own)
        has_enough = n_test >= 1 and len(own) - n_test > max(3, len(own) / 2)
        assert is_test == was_test or not (has_enough or label != another[0])
        assert was_test == (place / 31 < 0.25) or not has_enough


def test_validation_has_every_class_and_no_image_of_training() -> None:
    data = _data([0, 1, 2] * 20, ("a", "b", "c"))
    training, validation = carve_validation(data, 0.1, seed=0)
    assert (len(training), len(validation)) == (54, 6)
    assert validation.counts() == [2, 2, 2]
    assert not set(training.images.flatten().tolist()) & set(validation.images.flatten().tolist())
    for part in (training, validation):
        assert torch.equal(part.labels, part.images.flatten().long() % 3)


def test_other_seed_holds_out_other_images() -> None:
    data = _data([0, 1] * 50, ("a", "b"))
    first = carve_validation(data, 0.2, seed=0)[1]
    assert first.fingerprint == carve_validation(data, 0.2, seed=0)[1].fingerprint
    assert first.fingerprint != carve_validation(data, 0.2, seed=1)[1].fingerprint


def test_one_class_is_refused() -> None:
    with pytest.raises(ModpmError, match="every image is of `cat`"):
        carve_validation(_data([0, 0, 0], ("cat",)), 0.5, seed=0)


def test_classes_with_too_few_images_are_named() -> None:
    with pytest.raises(ModpmError, match="`b` has 1, `c` has none"):
        carve_validation(_data([0, 0, 1], ("a", "b", "c")), 0.5, seed=0)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, float("nan")])
def test_impossible_fraction_is_refused(fraction: float) -> None:
    with pytest.raises(ModpmError, match="validation fraction"):
        carve_validation(_data([0, 0, 1, 1], ("a", "b")), fraction, seed=0)


def test_fingerprint_tells_pixels_labels_shapes_and_names_apart() -> None:
    data = _data([0, 1, 1, 0], ("a", "b"))
    variants = [
        data,
        data.select([1, 0, 2, 3]),
        _data([0, 1, 1, 1], ("a", "b")),
        _data([0, 1, 1, 0], ("a", "c")),
        ImageData(data.images.view(4, 1, 1, 1) + 1, data.labels, data.classes, "", ""),
        ImageData(data.images.view(1, 1, 2, 2), data.labels, data.classes, "", ""),
    ]
    assert len({variant.fingerprint for variant in variants}) == len(variants)
    assert data.fingerprint == _data([0, 1, 1, 0], ("a", "b")).fingerprint


def test_fingerprint_does_not_depend_on_the_memory_format() -> None:
    images = torch.randint(256, (5, 3, 4, 4), dtype=torch.uint8)
    channels_last = images.contiguous(memory_format=torch.channels_last)
    labels = torch.zeros(5, dtype=torch.int64)
    first, second = (ImageData(each, labels, ("a",), "", "") for each in (images, channels_last))
    assert first.fingerprint == second.fingerprint
