"""Streamed kernel counts against a naive pass."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from tests.modularizing.test_metrics import naive_mean

from modpm.core.data import aligned, normalize
from modpm.core.modularizing.modularization import cohesion
from modpm.core.training import inference
from modpm.core.training.activity import count_active
from modpm.core.training.batches import TrainingImages
from modpm.core.training.evidence import Cutoff
from modpm.core.training.methods.mwt import mask_nodes

if TYPE_CHECKING:
    from collections.abc import Callable

    from modpm.core.data import ImageData
    from modpm.core.origins.origin import OriginNetwork
    from modpm.core.training.evidence import Frequencies

ROUNDED = 1e-6  # quotients in float32


def counted(
    origin: OriginNetwork, data: ImageData, progress: Callable[[int, int], None] | None = None
) -> Frequencies:
    images = TrainingImages(data, origin.contract)
    return count_active(origin.network, mask_nodes(origin.graph), images, progress)


def test_streamed_counts_are_those_of_one_pass_over_each_class(
    origin: OriginNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = origin.validation.select(range(97))
    monkeypatch.setattr(inference, "BATCH_SIZE", 10)
    found = counted(origin, data)
    assert found.sample_masks is not None
    nodes = mask_nodes(origin.graph)
    for i in range(len(origin.classes)):
        images = data.images[data.labels == i]
        assert int(found.n_samples[i]) == len(images)
        with torch.inference_mode():
            prepared = normalize(images, origin.contract.mean, origin.contract.std)
            masks = origin.network.run(prepared, tuple(nodes.values()))
        for conv, node in nodes.items():
            assert torch.equal(found.counts[conv][i], (masks[node] > 0).sum(0))
            assert found.strengths is not None
            sums = masks[node].double().sum(0)
            torch.testing.assert_close(found.strengths[conv][i], sums, rtol=1e-5, atol=1e-5)
        expected = torch.cat([masks[node] > 0 for node in nodes.values()], dim=1)
        assert torch.equal(found.sample_masks(i), expected)


def test_cohesion_of_a_network_is_that_of_a_double_loop(origin: OriginNetwork) -> None:
    data = origin.validation.select(range(60))
    found = counted(origin, data)
    masks = found.masks(Cutoff(threshold=0.9))
    joined = torch.cat(list(masks.values()), dim=1)
    assert found.sample_masks is not None
    values = [naive_mean(found.sample_masks(i)[:, joined[i]]) for i in range(10)]
    assert cohesion(found.sample_masks, masks) == pytest.approx(sum(values) / 10, abs=ROUNDED)


def test_progress_is_told_until_all_images_are_done(origin: OriginNetwork) -> None:
    told: list[tuple[int, int]] = []
    data = origin.validation.select(range(130))
    counted(origin, data, lambda *step: told.append(step))
    assert told == [(100, 130), (130, 130)]


def test_a_split_with_other_classes_is_brought_to_those_of_the_run(origin: OriginNetwork) -> None:
    data = origin.validation.select(range(50))
    classes = tuple(reversed(data.classes))[:4]
    moved = aligned(data, classes)
    assert moved.classes == classes
    assert set(moved.labels.tolist()) <= {0, 1, 2, 3}
    is_known = torch.tensor([data.classes[i] in classes for i in data.labels])
    assert torch.equal(moved.images, data.images[is_known])
    before = [data.classes[i] for i in data.labels[is_known]]
    assert [classes[i] for i in moved.labels] == before
