from __future__ import annotations

import pytest
import torch
from torch import Tensor

from modpm.core.training.running_frequencies import DECAY, RunningFrequencies, retained_at


def random_batches(n_batches: int) -> list[tuple[dict[str, Tensor], Tensor]]:
    generator = torch.Generator().manual_seed(0)
    return [
        (
            {
                "a": torch.randn(7, 3, generator=generator).relu(),
                "b": torch.randn(7, 2, generator=generator).relu(),
            },
            torch.randint(3, (7,), generator=generator),
        )
        for _ in range(n_batches)
    ]


def test_frequencies_equal_a_weighted_mean_over_samples() -> None:
    """A class's samples of one batch weigh alike; each sample that came later shrinks them."""
    running = RunningFrequencies(3, {"a": 3, "b": 2})
    batches = random_batches(6)
    for masks, labels in batches:
        running.update(masks, labels)
    for label in range(3):
        total, weight = torch.zeros(5), 0.0
        for masks, labels in batches:
            active = torch.cat([masks["a"], masks["b"]], 1)[labels == label] > 0
            decay = DECAY ** len(active)
            if len(active):
                total = total * decay + (1 - decay) * active.float().mean(0)
                weight = weight * decay + (1 - decay)
        torch.testing.assert_close(running.frequencies[label], total)
        assert running.weights[label].item() == pytest.approx(weight, rel=1e-5)


def test_constant_masks_have_their_frequency_from_the_first_batch_on() -> None:
    running = RunningFrequencies(2, {"a": 3})
    masks = {"a": torch.tensor([[1.0, 0, 0.5], [1.0, 0, 0], [0, 0, 0.2]])}
    running.update(masks, torch.tensor([0, 0, 1]))
    assert running.module_masks(0.9)["a"].tolist() == [[1, 0, 0], [0, 0, 1]]
    assert running.module_masks(0.5)["a"].tolist() == [[1, 0, 1], [0, 0, 1]]


def test_a_class_that_was_never_seen_retains_all_kernels() -> None:
    running = RunningFrequencies(2, {"a": 3})
    running.update({"a": torch.ones(1, 3)}, torch.tensor([0]))
    assert running.module_masks(0.9)["a"][1].tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("frequencies", "retained"),
    [
        ([0.95, 0.9, 0.89], [True, True, False]),
        ([0.84, 0.8, 0.79], [True, True, False]),
        ([0.85, 0.84, 0.0], [True, False, False]),
        ([0.02, 0.0, 0.01], [True, False, True]),
        ([0.0, 0.0, 0.0], [True, False, False]),
    ],
)
def test_the_threshold_falls_until_a_layer_has_a_kernel(
    frequencies: list[float], retained: list[bool]
) -> None:
    assert retained_at(torch.tensor([frequencies]), 0.9).tolist() == [retained]


def test_retention_rate_counts_layers_without_masks_as_retained() -> None:
    running = RunningFrequencies(2, {"a": 4})
    masks = torch.tensor([[1.0, 0, 0, 0], [1.0, 1.0, 1.0, 0]])
    running.update({"a": masks}, torch.tensor([0, 1]))
    assert running.retention_rate(0.9, n_kernels=10) == pytest.approx((2 + 6) / 10)


def test_its_state_is_its_buffers() -> None:
    running, copy = RunningFrequencies(3, {"a": 3, "b": 2}), RunningFrequencies(3, {"a": 3, "b": 2})
    for masks, labels in random_batches(2):
        running.update(masks, labels)
    copy.load_state_dict(running.state_dict())
    assert torch.equal(copy.module_masks(0.7)["b"], running.module_masks(0.7)["b"])
