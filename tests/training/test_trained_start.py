from __future__ import annotations

import pytest
import torch
from torch import nn

from modpm.core.graph import build, trace
from modpm.core.networks import create
from modpm.core.training.batches import seeded_generator
from modpm.core.training.mask_generators import attach_mask_generators, mask_nodes
from modpm.core.training.trained_start import SCORE_DEVIATION, SCORE_MEAN, fit_generators


def network_without_batch_norm() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Conv2d(6, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3),
        nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3),
    )  # fmt: skip


def residual_network() -> nn.Module:
    torch.manual_seed(1)
    return create("resnet20", 3, 1, 0.5)


@pytest.mark.parametrize("make", [network_without_batch_norm, residual_network])
def test_generators_that_are_fitted_vary_and_change_the_function_little(
    make: type[nn.Module],
) -> None:
    images = torch.randn(200, 1, 16, 16, generator=seeded_generator(0, 0, 1))
    images *= torch.linspace(0.5, 2.0, 200)[:, None, None, None]
    plain = trace(make(), images[:2])
    graph, tensors = attach_mask_generators(*plain, generator=seeded_generator(0, 0, 0))
    fitted = build(graph, fit_generators(graph, tensors, images, seeded_generator(0, 0, 2))).eval()
    scores = fitted.run(images, [f"{conv}.mask_generator.score" for conv in mask_nodes(graph)])
    for score in scores.values():
        torch.testing.assert_close(
            score.mean(0), torch.full_like(score[0], SCORE_MEAN), rtol=1e-3, atol=1e-3
        )
        assert bool((score.std(0) <= 1.01 * SCORE_DEVIATION).all())
        assert score.std(0).mean() > SCORE_DEVIATION / 2
    masks = fitted.run(images, list(mask_nodes(graph).values()))
    assert all(bool(((mask > 0.3) & (mask < 1)).float().mean() > 0.95) for mask in masks.values())
    before, after = build(*plain).eval()(images), fitted(images)
    drawn = build(graph, tensors).eval()(images)
    assert (after - before).square().mean() < 0.15 * before.var()
    assert (after - before).square().mean() < (drawn - before).square().mean()


def test_fitting_leaves_the_given_tensors_alone_and_repeats_itself() -> None:
    images = torch.randn(50, 1, 16, 16, generator=seeded_generator(0, 0, 1))
    plain = trace(network_without_batch_norm(), images[:2])
    graph, tensors = attach_mask_generators(*plain, generator=seeded_generator(0, 0, 0))
    copies = {name: tensor.clone() for name, tensor in tensors.items()}
    first = fit_generators(graph, tensors, images, seeded_generator(0, 0, 2))
    again = fit_generators(graph, tensors, images, seeded_generator(0, 0, 2))
    assert all(torch.equal(tensors[name], copies[name]) for name in copies)
    assert all(torch.equal(first[name], again[name]) for name in first)
