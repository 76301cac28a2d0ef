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
    ActivationRates,
    Cutoff,
    Evidence,
    Frequencies,
    Importance,
    Ranking,
)
from modpm.core.training.ranking import quotas, rank_kernels


def module_masks(
    counts: dict[str, Tensor], n_samples: Tensor, threshold: float
) -> dict[str, Tensor]:
    n_all = sum(table.shape[1] for table in counts.values())
    return Frequencies(counts, n_samples, n_all).masks(Cutoff(threshold=threshold))


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
    small, large = (ranking.masks(Cutoff(retention=rate)) for rate in (0.4, 0.7))
    assert bool((small["a"] <= large["a"]).all())
    assert small["a"].sum(1).tolist() == [8, 8, 8]
    assert large["a"].sum(1).tolist() == [24, 24, 24]


def test_importance_is_ranked_for_the_size_that_is_asked_for() -> None:
    importance = torch.rand(3, 40)
    for rate, quota in ((0.4, 8), (0.7, 24)):
        masks = Importance({"a": importance}, 44).masks(Cutoff(retention=rate))
        assert torch.equal(masks["a"], rank_kernels(importance, quota) < quota)


@pytest.mark.parametrize("kind", [Ranking, Importance])
def test_rankings_are_cut_by_what_training_prepared(kind: type[Evidence]) -> None:
    assert kind.cutoff(None, None, 0.5) == Cutoff(retention=0.5)
    assert kind.cutoff(None, 0.2, 0.5) == Cutoff(retention=0.2)
    rates = [candidate.retention for candidate in kind.candidates(0.5)]
    assert rates[0] == 1.0
    assert rates[-1] == 0.5
    assert 0.75 in rates
    assert rates == sorted(rates, key=lambda rate: -(rate or 0))


def test_frequencies_are_cut_by_the_threshold_of_the_paper() -> None:
    assert Frequencies.cutoff(None, None, 0.3) == Cutoff(threshold=0.9)
    assert Frequencies.cutoff(0.7, None, 0.3) == Cutoff(threshold=0.7)
    thresholds = [candidate.threshold for candidate in Frequencies.candidates(0.3)]
    assert thresholds == sorted(thresholds, key=lambda threshold: threshold or 0)


@pytest.mark.parametrize(
    ("kind", "threshold", "retention"),
    [
        (Frequencies, None, 1.5),
        (Frequencies, 0.0, None),
        (Ranking, 0.9, None),
        (Ranking, None, 1.5),
        (Importance, None, 0.0),
    ],
)
def test_what_the_evidence_cannot_say_is_refused(
    kind: type[Evidence], threshold: float | None, retention: float | None
) -> None:
    with pytest.raises(ModpmError) as refusal:
        kind.cutoff(threshold, retention, 0.3)
    assert refusal.value.code == ("invalid-threshold" if threshold == 0 else "bad-setting")


def test_frequencies_are_cut_as_a_ranking_where_a_retention_rate_is_asked_for() -> None:
    cutoff = Frequencies.cutoff(None, 0.4, 0.3)
    assert cutoff == Cutoff(retention=0.4)
    chance = torch.Generator().manual_seed(0)
    sizes = {"a": 20, "b": 40}
    counts = {n: torch.randint(50, (3, k), generator=chance) for n, k in sizes.items()}
    masks = Frequencies(counts, torch.tensor([50] * 3), 70).masks(cutoff)
    for layer, quota in quotas(sizes, 70, 0.4).items():
        for mask, row in zip(masks[layer], counts[layer], strict=True):
            assert int(mask.sum()) == quota
            assert int(row[mask].min()) >= int(row[~mask].max())


def test_of_kernels_that_equally_many_samples_activate_the_stronger_is_kept() -> None:
    counts = {"a": torch.tensor([[50, 50, 49, 50, 50, 50, 50, 50]])}
    strengths = {"a": torch.tensor([[0.0, 0.125, 900.0, 0.5, 2.0, 0.25, 3.0, 1.0]])}
    n_samples, half = torch.tensor([50]), Cutoff(retention=0.5)
    mask = Frequencies(counts, n_samples, 8, strengths).masks(half)["a"]
    assert mask[0].tolist() == [False, False, False, True, True, False, True, True]
    mask = Frequencies(counts, n_samples, 8).masks(half)["a"]
    assert mask[0].tolist() == [True, True, False, True, True, False, False, False]


def test_of_channels_behind_a_relu_half_a_percent_of_a_layer_stays() -> None:
    counts = torch.zeros(1, 500, dtype=torch.int64)
    counts[0, [7, 400]] = torch.tensor([5, 4])
    rates = ActivationRates({"a": counts}, torch.tensor([10]), 500)
    assert rates.masks(Cutoff(threshold=0.5))["a"].nonzero()[:, 1].tolist() == [0, 7, 400]
    counts[0, 100:110] = 9
    assert rates.masks(Cutoff(threshold=0.9))["a"].nonzero()[:, 1].tolist() == [*range(100, 110)]


def test_of_a_class_without_images_the_least_of_a_layer_stays() -> None:
    counts, none = {"a": torch.zeros(1, 20, dtype=torch.int64)}, torch.tensor([0])
    for kind in (Frequencies, ActivationRates):
        assert int(kind(counts, none, 20).masks(Cutoff(threshold=0.9))["a"].sum()) == 1
