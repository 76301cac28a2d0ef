from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import pytest
import torch
from tests.composition.tiny_origins import publish, tiny_origin

from modpm.core.classifiers.class_module import (
    MAX_PIXELS,
    ClassModule,
    probe_batch,
    score_difference,
)
from modpm.core.formats.digest import digest_bytes
from modpm.core.formats.manifest import InputContract

if TYPE_CHECKING:
    from pathlib import Path

# Made from the words of clause V-10, without this code.
GOLDEN = "sha256:966546a66d1d73d184d650913d65fe21982923e702736c041233fc0ae7fdc3c2"


def contract(channels: Literal[1, 3], height: int, width: int) -> InputContract:
    numbers = [0.5] * channels
    return InputContract(channels=channels, height=height, width=width, mean=numbers, std=numbers)


def test_the_probe_batch_never_changes() -> None:
    batch = probe_batch(contract(3, 9, 10))

    assert (tuple(batch.shape), batch.dtype) == ((16, 3, 9, 10), torch.uint8)
    assert digest_bytes(batch.numpy().tobytes()) == GOLDEN


def test_probe_images_are_blocks_of_one_color() -> None:
    batch = probe_batch(contract(1, 16, 24))

    for i, side in enumerate([1, 2, 4, 8] * 4):
        blocks = batch[i, 0].unfold(0, side, side).unfold(1, side, side)
        assert (blocks.amax((2, 3)) == blocks.amin((2, 3))).all()
    assert len({image.numpy().tobytes() for image in batch}) == 16


@pytest.mark.parametrize(("side", "n"), [(8, 16), (512, 10), (4096, 1)])
def test_large_probe_images_are_fewer(side: int, n: int) -> None:
    batch = probe_batch(contract(3, side, side))

    assert len(batch) == n
    assert n == 1 or batch.numel() <= MAX_PIXELS


def test_equal_modules_have_equal_scores(tmp_path: Path) -> None:
    module = tiny_origin().module("cat", tiny_origin().some(1))

    old, new = publish(module, tmp_path / "old"), publish(module, tmp_path / "new")

    assert score_difference(old, new) == 0


def test_the_largest_difference_is_told(tmp_path: Path) -> None:
    module = tiny_origin().module("cat", tiny_origin().some(1))
    tensors = {**module.tensors, "score.bias": module.tensors["score.bias"] + 0.5}
    other = ClassModule(module.manifest, tensors)

    difference = score_difference(
        publish(module, tmp_path / "old"), publish(other, tmp_path / "new")
    )

    assert math.isclose(difference, 0.5, abs_tol=1e-5)  # float32 of scores of a few units


def test_what_is_not_a_number_is_a_difference(tmp_path: Path) -> None:
    module = tiny_origin().module("cat", tiny_origin().some(1))
    tensors = {**module.tensors, "score.bias": torch.tensor([math.nan])}
    folder = publish(ClassModule(module.manifest, tensors), tmp_path / "nan")

    assert score_difference(folder, folder) == math.inf
