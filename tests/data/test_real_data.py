"""The data sets that everybody knows come out as everybody knows them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from sklearn.datasets import load_digits

from modpm.core.data import default_statistics, load_data
from modpm.core.errors import ModpmError

if TYPE_CHECKING:
    from pathlib import Path


def test_digits_are_those_of_scikit_learn() -> None:
    train, test = load_data("digits", "train"), load_data("digits", "test")
    assert (len(train), len(test)) == (1347, 450)
    assert train.image_shape == (1, 8, 8)
    original = load_digits()
    both = np.concatenate([train.images.numpy(), test.images.numpy()])[:, 0]
    labels = np.concatenate([train.labels.numpy(), test.labels.numpy()])
    found = sorted((label, *image.ravel()) for label, image in zip(labels, both, strict=True))
    scaled = np.rint(original.images * 255 / 16)
    expected = sorted(
        (label, *image.ravel()) for label, image in zip(original.target, scaled, strict=True)
    )
    assert found == expected


def test_split_of_the_digits_is_the_same_for_ever() -> None:
    # Results on the digits are comparable between versions only while this holds.
    fingerprint = load_data("digits", "train").fingerprint
    assert fingerprint == "sha256:1dc91d48bd8292c71ab9d7ab7f249c95d67504769472336717abc084eb9c02c6"


def test_digits_have_two_splits() -> None:
    with pytest.raises(ModpmError, match="`test`, `train`"):
        load_data("digits", "validation")


def test_cifar10_has_its_published_statistics(shared_data: Path) -> None:
    data = load_data(shared_data / "cifar10", "test")
    assert data.image_shape == (3, 32, 32)
    assert data.counts() == [1000] * 10
    assert data.classes[3] == "cat"
    mean, std = default_statistics(data)
    # Of the test split; those of the training split that everybody cites are .4914 .4822 .4465.
    assert mean == pytest.approx([0.4942, 0.4851, 0.4504], abs=1e-4)
    assert std == pytest.approx([0.2467, 0.2429, 0.2616], abs=1e-4)


def test_mnist_is_gray_and_its_digits_are_named(shared_data: Path) -> None:
    data = load_data(shared_data / "mnist", "test")
    assert data.image_shape == (1, 28, 28)
    assert data.classes == tuple("0123456789")
    assert data.counts() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
