from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import combinations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from modpm.core.training.similarity import (
    contrastive_loss,
    modular_losses,
)

Loss = Callable[[Sequence[Tensor], Tensor], Tensor]


def naive_cosine(a: Tensor, b: Tensor) -> float:
    norms = float(a.norm() * b.norm())
    return float(a @ b) / norms if norms > 0 else 0.0


def naive_mean_cosine(masks: Tensor, labels: Tensor, *, same: bool) -> float | None:
    cosines = [
        naive_cosine(masks[i], masks[j])
        for i, j in combinations(range(len(labels)), 2)
        if bool(labels[i] == labels[j]) is same
    ]
    return sum(cosines) / len(cosines) if cosines else None


def naive_cohesion_loss(layers: Sequence[Tensor], labels: Tensor) -> float:
    means = [naive_mean_cosine(masks, labels, same=True) for masks in layers]
    return sum(0.0 if mean is None else 1.0 - mean for mean in means) / len(layers)


def naive_coupling_loss(layers: Sequence[Tensor], labels: Tensor) -> float:
    means = [naive_mean_cosine(masks, labels, same=False) for masks in layers]
    return sum(0.0 if mean is None else mean for mean in means) / len(layers)


def naive_contrastive_loss(layers: Sequence[Tensor], labels: Tensor, temperature: float) -> float:
    losses = []
    for masks in layers:
        for i, own in enumerate(labels):
            said = [math.exp(naive_cosine(masks[i], other) / temperature) for other in masks]
            same = [s for s, label in zip(said, labels, strict=True) if label == own]
            losses.append(-math.log(sum(same) / sum(said)))
    return sum(losses) / len(losses)


def random_masks(seed: int, n: int, widths: Sequence[int]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    draw = [torch.randn(n, k, generator=generator, dtype=torch.float64) for k in widths]
    return [scores.tanh().relu() for scores in draw]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    n=st.integers(1, 9),
    n_classes=st.integers(1, 4),
    widths=st.lists(st.integers(1, 6), min_size=1, max_size=3),
)
def test_losses_equal_the_naive_double_loop(
    seed: int, n: int, n_classes: int, widths: list[int]
) -> None:
    masks = random_masks(seed, n, widths)
    labels = torch.randint(n_classes, (n,), generator=torch.Generator().manual_seed(seed))
    cohesion, coupling = modular_losses(masks, labels)
    assert float(cohesion) == pytest.approx(naive_cohesion_loss(masks, labels), abs=1e-12)
    assert float(coupling) == pytest.approx(naive_coupling_loss(masks, labels), abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    n=st.integers(1, 7),
    n_classes=st.integers(1, 4),
    widths=st.lists(st.integers(1, 6), min_size=1, max_size=3),
    temperature=st.sampled_from([0.05, 0.2, 1.0]),
)
def test_the_contrastive_loss_equals_the_naive_one(
    seed: int, n: int, n_classes: int, widths: list[int], temperature: float
) -> None:
    masks = random_masks(seed, n, widths)
    labels = torch.randint(n_classes, (n,), generator=torch.Generator().manual_seed(seed))
    expected = naive_contrastive_loss(masks, labels, temperature)
    found = float(contrastive_loss(masks, labels, temperature))
    assert found == pytest.approx(expected, abs=1e-9)


def test_the_contrastive_loss_falls_when_masks_tell_classes_apart() -> None:
    labels = torch.tensor([0, 0, 1, 1])
    apart, alike = torch.eye(2)[labels], torch.ones(4, 2)
    least = math.log1p(math.exp(-1 / 0.2))
    assert float(contrastive_loss([apart], labels, 0.2)) == pytest.approx(least, rel=1e-4)
    assert float(contrastive_loss([alike], labels, 0.2)) == pytest.approx(math.log(2), rel=1e-5)


@pytest.mark.parametrize(
    "loss",
    [
        lambda masks, labels: modular_losses(masks, labels)[0],
        lambda masks, labels: modular_losses(masks, labels)[1],
        lambda masks, labels: contrastive_loss(masks, labels, 0.2),
    ],
)
def test_gradients_equal_finite_differences(loss: Loss) -> None:
    labels = torch.tensor([0, 1, 0, 2, 1])
    layers = [(masks + 0.1).requires_grad_() for masks in random_masks(7, 5, [4, 3])]
    assert torch.autograd.gradcheck(lambda *masks: loss(masks, labels), tuple(layers))


@pytest.mark.parametrize(
    ("labels", "why"),
    [
        ([0, 0, 0, 0], "one class: no different-class pair"),
        ([0, 1, 2, 3], "classes of one sample: no same-class pair"),
        ([0, 0, 1, 2], "both kinds of pairs"),
    ],
)
@pytest.mark.parametrize("silent", [0, 2, 4])
def test_losses_and_gradients_are_finite(labels: list[int], why: str, silent: int) -> None:
    scores = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    scores[:silent] = -1.0
    scores.requires_grad_()
    masks = [scores.tanh().relu(), scores.relu()]
    cohesion, coupling = modular_losses(masks, torch.tensor(labels))
    contrastive = contrastive_loss(masks, torch.tensor(labels), 0.2)
    torch.autograd.backward(cohesion + coupling + contrastive)
    assert torch.isfinite(torch.stack([cohesion, coupling, contrastive])).all(), why
    assert scores.grad is not None
    assert torch.isfinite(scores.grad).all(), why


def test_gradient_is_finite_where_a_bare_mask_is_zero() -> None:
    masks = torch.zeros(4, 3, requires_grad=True)
    cohesion, coupling = modular_losses([masks], torch.tensor([0, 0, 1, 1]))
    torch.autograd.backward(cohesion + coupling)
    assert masks.grad is not None
    assert torch.isfinite(masks.grad).all()


@pytest.mark.filterwarnings("ignore")  # torch's compiler warns of its own parts
def test_the_contrastive_loss_is_compiled_whole() -> None:
    masks, labels = random_masks(2, 6, [4, 3]), torch.arange(6) % 3
    compiled = torch.compile(contrastive_loss, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(masks, labels, 0.2), contrastive_loss(masks, labels, 0.2))


def test_a_batch_without_a_pair_costs_nothing() -> None:
    masks = random_masks(1, 3, [4])
    assert float(modular_losses(masks, torch.tensor([0, 1, 2]))[0]) == 0.0
    assert float(modular_losses(masks, torch.tensor([1, 1, 1]))[1]) == 0.0
    assert [float(loss) for loss in modular_losses([masks[0][:1]], torch.tensor([0]))] == [0, 0]


def test_equal_masks_cohere_and_disjoint_masks_do_not_couple() -> None:
    masks = torch.tensor([[1.0, 0.5, 0, 0], [0.5, 0.25, 0, 0], [0, 0, 1, 0], [0, 0, 0.3, 0]])
    cohesion, coupling = modular_losses({"conv": masks}, torch.tensor([0, 0, 1, 1]))
    assert float(cohesion) == pytest.approx(0.0, abs=1e-6)
    assert float(coupling) == 0.0
