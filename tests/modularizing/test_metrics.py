"""Jaccard means and confusion against naive double loops."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from modpm.core.formats.manifest import MAX_CONFUSED
from modpm.core.modularizing.fitting import confusion
from modpm.core.modularizing.modularization import (
    cohesion,
    coupling,
    kernel_overlap,
    mean_pairwise_jaccard,
    retention_by_layer,
)

ROUNDED = 1e-6  # quotients in float32


def jaccard(first: Tensor, second: Tensor) -> float:
    a, b = set(first.nonzero()[:, 0].tolist()), set(second.nonzero()[:, 0].tolist())
    return len(a & b) / len(a | b) if a | b else 1.0


def naive_mean(sets: Tensor) -> float:
    values = [jaccard(a, b) for a, b in combinations(sets, 2)]
    return sum(values) / len(values) if values else 1.0


def random_sets(seed: int, n: int, k: int, share: float) -> Tensor:
    return torch.rand(n, k, generator=torch.Generator().manual_seed(seed)) < share


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(1, 12),
    k=st.integers(1, 9),
    share=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    tile=st.integers(1, 13),
)
def test_the_tiled_mean_is_that_of_a_double_loop(
    seed: int, n: int, k: int, share: float, tile: int
) -> None:
    sets = random_sets(seed, n, k, share)
    assert mean_pairwise_jaccard(sets, tile) == pytest.approx(naive_mean(sets), abs=ROUNDED)


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**32 - 1), share=st.sampled_from([0.05, 0.5]))
def test_cohesion_is_that_of_a_double_loop_over_retained_kernels(seed: int, share: float) -> None:
    samples = [random_sets(seed + i, n, 7, 0.5) for i, n in enumerate((1, 2, 5))]
    masks = {"a": random_sets(seed + 9, 3, 4, share), "b": random_sets(seed + 10, 3, 3, share)}
    expected = sum(
        naive_mean(samples[i][:, torch.cat([masks["a"][i], masks["b"][i]])]) for i in range(3)
    )
    assert cohesion(samples.__getitem__, masks) == pytest.approx(expected / 3, abs=ROUNDED)


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**32 - 1))
def test_coupling_is_the_mean_of_the_overlaps_between_classes(seed: int) -> None:
    masks = {"a": random_sets(seed, 4, 5, 0.4), "b": random_sets(seed + 1, 4, 3, 0.4)}
    joined = torch.cat(list(masks.values()), dim=1)
    assert coupling(masks) == pytest.approx(naive_mean(joined), abs=ROUNDED)
    overlap = kernel_overlap(masks)
    assert torch.equal(overlap, overlap.T)
    assert (overlap.diagonal() == 1).all()
    off_diagonal = overlap.triu(1).sum() / 6
    assert float(off_diagonal) == pytest.approx(coupling(masks), abs=ROUNDED)


def test_classes_without_a_pair_give_numbers() -> None:
    one_class = {"a": torch.tensor([[True, False]])}
    assert coupling(one_class) == 0.0
    assert cohesion(lambda _: torch.tensor([[False, True]]), one_class) == 1.0


def test_masks_that_are_all_zero_give_numbers() -> None:
    masks = {"a": torch.zeros(2, 3, dtype=torch.bool)}
    assert coupling(masks) == 1.0
    assert cohesion(lambda _: torch.zeros(4, 3, dtype=torch.bool), masks) == 1.0


def test_the_mean_of_many_pairs_loses_no_digits() -> None:
    sets = random_sets(0, 900, 40, 0.3)
    inner = sets.double() @ sets.double().T
    union = sets.sum(1)[:, None] + sets.sum(1) - inner
    expected = float((inner / union).triu(1).sum() / (900 * 899 / 2))
    assert mean_pairwise_jaccard(sets, 256) == pytest.approx(expected, abs=1e-7)


def test_retention_by_layer_has_a_row_for_each_class() -> None:
    retained = [{"a": [0, 1], "b": [3]}, {"a": [0, 1], "b": [0, 1, 2]}]
    expected = torch.tensor([[1.0, 0.25], [1.0, 0.75]])
    assert torch.equal(retention_by_layer(retained, {"a": 2, "b": 4}), expected)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 60), n_classes=st.integers(1, 9))
def test_confusion_is_that_of_a_double_loop(seed: int, n: int, n_classes: int) -> None:
    chance = torch.Generator().manual_seed(seed)
    labels = torch.randint(n_classes, (n,), generator=chance)
    scores = torch.randn(n, generator=chance)
    classes = [f"class {i}" for i in range(n_classes)]
    naive = []
    for i in range(1, n_classes):
        own = [float(score) for score, label in zip(scores, labels, strict=True) if label == i]
        if any(score > 0 for score in own):
            naive.append((sum(score > 0 for score in own) / len(own), -i, len(own)))
    naive.sort(reverse=True)

    found = confusion(scores, labels, 0, classes, "test")

    assert [(one.name, one.n) for one in found.classes] == [
        (classes[-i], n) for _, i, n in naive[:MAX_CONFUSED]
    ]
    assert [one.share for one in found.classes] == pytest.approx(
        [share for share, _, _ in naive[:MAX_CONFUSED]], abs=ROUNDED
    )
