"""Laws of evidence and of the module masks that are made of it."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from modpm.core.errors import ModpmError
from modpm.core.training.evidence import (
    Criterion,
    Evidence,
    Frequencies,
    Importance,
    Ranking,
)
from modpm.core.training.ranking import rank_kernels


def module_masks(
    counts: dict[str, Tensor], n_samples: Tensor, threshold: float
) -> dict[str, Tensor]:
    return Frequencies(counts, n_samples).masks(Criterion(threshold=threshold))


def naive_mask(counts: list[int], n: int, threshold: str) -> list[bool]:
    """Fall step by step, in exact numbers, as the definition says."""
    if not any(counts):
        return [i == 0 for i in range(len(counts))]
    limit = Fraction(threshold)
    while True:
        mask = [count > 0 and Fraction(count, n) >= limit for count in counts]
        if any(mask):
            return mask
        limit -= Fraction("0.05")


@settings(deadline=None, max_examples=40)
@given(
    n=st.integers(1, 40),
    shares=st.lists(st.integers(0, 40), min_size=1, max_size=8),
    threshold=st.sampled_from(["1", "0.95", "0.9", "0.7", "0.55", "0.5", "0.123", "0.05", "0.01"]),
)
def test_masks_are_those_of_the_definition_in_exact_numbers(
    n: int, shares: list[int], threshold: str
) -> None:
    counts = [min(share, n) for share in shares]
    masks = module_masks({"conv": torch.tensor([counts])}, torch.tensor([n]), float(threshold))
    assert masks["conv"][0].tolist() == naive_mask(counts, n, threshold)


def test_a_kernel_exactly_at_the_threshold_is_retained() -> None:
    counts = {"conv": torch.tensor([[9, 8], [63, 62]])}
    masks = module_masks(counts, torch.tensor([10, 70]), 0.9)
    assert masks["conv"].tolist() == [[True, False], [True, False]]


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1))
def test_no_layer_of_no_class_is_empty(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    n_samples = torch.randint(1, 20, (3,), generator=generator)
    counts = (torch.rand(3, 6, generator=generator) ** 4 * (n_samples[:, None] + 1)).long()
    for threshold in (1.0, 0.9, 0.31):
        assert module_masks({"conv": counts}, n_samples, threshold)["conv"].any(1).all()


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1))
def test_a_lower_threshold_retains_no_fewer_kernels(seed: int) -> None:
    counts = torch.randint(0, 21, (4, 9), generator=torch.Generator().manual_seed(seed))
    n_samples = torch.full((4,), 20)
    sizes = [module_masks({"conv": counts}, n_samples, t)["conv"].sum(1) for t in (0.9, 0.5, 0.2)]
    assert (sizes[0] <= sizes[1]).all()
    assert (sizes[1] <= sizes[2]).all()


def test_a_layer_that_no_sample_activates_retains_one_kernel() -> None:
    masks = module_masks({"conv": torch.zeros(1, 5, dtype=torch.int64)}, torch.tensor([7]), 0.9)
    assert masks["conv"].sum() == 1


@pytest.mark.parametrize("threshold", [0.0, -0.1, 1.01, float("nan")])
def test_a_threshold_outside_of_0_to_1_is_refused(threshold: float) -> None:
    with pytest.raises(ModpmError) as refusal:
        module_masks({"conv": torch.ones(1, 1)}, torch.ones(1), threshold)
    assert refusal.value.code == "invalid-threshold"


def test_smaller_modules_lie_within_larger_ones() -> None:
    ranking = Ranking({"a": rank_kernels(torch.rand(3, 40), 8)}, 44)
    small, large = (ranking.masks(Criterion(retention=rate)) for rate in (0.4, 0.7))
    assert bool((small["a"] <= large["a"]).all())
    assert small["a"].sum(1).tolist() == [8, 8, 8]
    assert large["a"].sum(1).tolist() == [24, 24, 24]


def test_importance_is_ranked_for_the_size_that_is_asked_for() -> None:
    importance = torch.rand(3, 40)
    for rate, quota in ((0.4, 8), (0.7, 24)):
        masks = Importance({"a": importance}, 44).masks(Criterion(retention=rate))
        assert torch.equal(masks["a"], rank_kernels(importance, quota) < quota)


@pytest.mark.parametrize("kind", [Ranking, Importance])
def test_rankings_are_cut_by_what_training_prepared(kind: type[Evidence]) -> None:
    assert kind.criterion(None, None, 0.5) == Criterion(retention=0.5)
    assert kind.criterion(None, 0.2, 0.5) == Criterion(retention=0.2)
    rates = [candidate.retention for candidate in kind.candidates(0.5)]
    assert rates[0] == 1.0
    assert rates[-1] == 0.5
    assert 0.75 in rates
    assert rates == sorted(rates, key=lambda rate: -(rate or 0))


def test_frequencies_are_cut_by_the_threshold_of_the_paper() -> None:
    assert Frequencies.criterion(None, None, 0.3) == Criterion(threshold=0.9)
    assert Frequencies.criterion(0.7, None, 0.3) == Criterion(threshold=0.7)
    thresholds = [candidate.threshold for candidate in Frequencies.candidates(0.3)]
    assert thresholds == sorted(thresholds, key=lambda threshold: threshold or 0)


@pytest.mark.parametrize(
    ("kind", "threshold", "retention"),
    [(Frequencies, None, 0.5), (Ranking, 0.9, None), (Ranking, None, 1.5), (Importance, None, 0.0)],
)
def test_what_the_evidence_cannot_say_is_refused(
    kind: type[Evidence], threshold: float | None, retention: float | None
) -> None:
    with pytest.raises(ModpmError) as refusal:
        kind.criterion(threshold, retention, 0.3)
    assert refusal.value.code == "bad-setting"
