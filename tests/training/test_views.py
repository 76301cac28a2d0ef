from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn.functional import softplus

from modpm.core.data import ImageData
from modpm.core.formats.manifest import InputContract
from modpm.core.graph import build, trace
from modpm.core.networks import create
from modpm.core.slicing import placements, slice_graph
from modpm.core.training.batches import TrainingImages, seeded_generator
from modpm.core.training.evidence import Cutoff
from modpm.core.training.methods import views as views_module
from modpm.core.training.methods.method import Task
from modpm.core.training.methods.views import (
    FADE,
    FROM_SCRATCH,
    FROM_TRAINED,
    OWN_CLASS,
    START,
    Viewing,
    Views,
    draw_views,
    view_loss,
)


def some_images() -> TrainingImages:
    chance = torch.Generator().manual_seed(0)
    images = torch.randint(256, (24, 1, 8, 8), generator=chance, dtype=torch.uint8)
    data = ImageData(images, torch.arange(24) % 3, ("a", "b", "c"), "made up", "train")
    contract = InputContract(channels=1, height=8, width=8, mean=[0.5], std=[0.25])
    return TrainingImages(data, contract)


def views_method(*, is_trained: bool = False) -> Views:
    torch.manual_seed(0)
    network = trace(create("digits_cnn", 3, 1, 0.25), torch.zeros(2, 1, 8, 8))
    return Views(build(*network), Task(n_classes=3, retention=0.5, is_trained=is_trained))


def inputs(of: Views, progress: float) -> tuple[torch.Tensor, ...]:
    images, chance = some_images(), seeded_generator(0, 0, 1)
    if of.is_to_look(progress):
        of.look(images)
    return of.draw(images.batch(torch.arange(24), chance), chance)


def ranked(*, is_trained: bool = False) -> Views:
    views = views_method(is_trained=is_trained)
    inputs(views, START)
    assert views.is_ranked
    return views


def test_views_begin_when_kernels_are_ranked() -> None:
    views = views_method()
    assert "view_loss" not in views(*inputs(views, START - 0.01))
    assert not views.is_ranked
    assert "view_loss" in views(*inputs(views, START))
    assert views.is_ranked


def test_views_of_trained_weights_begin_at_once() -> None:
    views = views_method(is_trained=True)
    assert "view_loss" in views(*inputs(views, 0.0))


def test_kernels_are_ranked_when_training_ends_at_the_latest() -> None:
    views = views_method()
    inputs(views, 0.0)
    assert views.is_to_look(1.0)
    views.look(some_images())
    ranking = Views.evidence(views.network, views.findings(), some_images())
    masks = ranking.masks(Cutoff(retention=0.5))
    assert all(torch.equal(masks[layer], kept.bool()) for layer, kept in views.kept().items())


def test_the_retention_rate_is_the_share_of_all_kernels_that_a_class_keeps() -> None:
    views = views_method()
    assert views.measures(some_images(), lambda numbers: numbers) == {}
    inputs(views, START)
    kernels, masks = views.network.graph.kernels(), views.kept()
    kept = [
        sum(int(masks[layer][label].sum()) if layer in masks else n for layer, n in kernels.items())
        for label in range(3)
    ]
    rate = views.measures(some_images(), lambda numbers: numbers)["kernel_retention_rate"]
    assert rate == pytest.approx(sum(kept) / 3 / sum(kernels.values()))
    assert rate <= 0.5


def test_kernels_are_ranked_once() -> None:
    views = ranked()
    before = views.ranks.clone()
    for parameter in views.network.parameters():
        parameter.data.normal_()
    inputs(views, 0.9)
    assert torch.equal(views.ranks, before)


def test_views_show_what_is_kept_and_whole_images_the_whole_network() -> None:
    views = ranked()
    images, labels, sets = inputs(views, 1.0)
    seen = []
    run = views.network.run
    views.network.run = lambda *arguments: seen.append(arguments) or run(*arguments)  # type: ignore[method-assign,func-returns-value]  # looks on
    views(images, labels, sets)
    scale = seen[0][2]
    n_whole = len(labels) - len(sets)
    assert n_whole == 24
    assert torch.equal(images[n_whole:], images[n_whole - len(sets) : n_whole])
    kept = views.kept()
    for layer, node in views.points.items():
        for row, classes in zip(scale[node], sets, strict=True):
            members = classes.nonzero()[:, 0]
            assert torch.equal(row, kept[layer][members].amax(0).bool())


def test_a_network_without_its_other_kernels_is_what_a_view_saw() -> None:
    views = ranked()
    images, labels, _ = inputs(views, 1.0)
    alone = torch.eye(3)[torch.zeros(len(labels), dtype=torch.int64)]
    views.network.eval()
    seen = views.network.run(images, [views.network.graph.output], views._scale(alone))
    small = {layer: mask[0].nonzero()[:, 0].tolist() for layer, mask in views.kept().items()}
    graph, tensors = slice_graph(views.network.graph, views.network.state_dict(), small, [0])
    module = build(graph, tensors).eval()
    torch.testing.assert_close(
        module(images)[:, 0], seen[views.network.graph.output][:, 0], rtol=1e-4, atol=1e-4
    )


def test_after_a_step_the_network_is_what_all_of_its_modules_make_together() -> None:
    views = ranked()
    graph, before = views.network.graph, dict(views.network.state_dict())
    before = {name: tensor.clone() for name, tensor in before.items()}
    views.after_step(0.5, 0.6)
    after = views.network.state_dict()
    in_modules = {name: torch.zeros_like(tensor) for name, tensor in before.items()}
    for label in range(3):
        retained = {
            layer: mask[label].nonzero()[:, 0].tolist() for layer, mask in views.kept().items()
        }
        for name, place in placements(graph, retained, [label]).items():
            block = torch.zeros_like(before[name])
            index = [range(n) if k is None else k for k, n in zip(place, block.shape, strict=True)]
            block[np.ix_(*index)] = 1
            in_modules[name] = in_modules[name].maximum(block)
    weights = [name for name, tensor in before.items() if tensor.dim() > 1]
    for name in weights:
        assert torch.equal(after[name], before[name] * in_modules[name]), name
    assert any(not in_modules[name].all() for name in weights)


def test_weights_of_a_trained_network_fade_before_they_are_gone() -> None:
    views = ranked(is_trained=True)
    weight, in_modules = next(zip(*views._partial_weights(), strict=True))
    before, outside = weight.detach().clone(), in_modules == 0
    for step in range(10):
        views.after_step(FADE * step / 20, FADE * (step + 1) / 20)
    half = weight.detach().clone()
    torch.testing.assert_close(half[outside], before[outside] * math.exp(-2.5))
    assert torch.equal(half[~outside], before[~outside])
    views.after_step(FADE, FADE + 0.01)
    assert not weight[outside].any()
    assert torch.equal(weight[~outside], before[~outside])


def test_weights_of_a_network_that_was_not_trained_are_gone_at_once() -> None:
    views = ranked()
    views.after_step(0.0, FADE / 20)
    weights, in_modules = views._partial_weights()
    assert weights
    for weight, is_in_a_module in zip(weights, in_modules, strict=True):
        assert (weight[is_in_a_module == 1] != 0).any()
        assert not weight[is_in_a_module == 0].any()


def test_what_is_minimized_is_the_sum_of_the_weighted_parts() -> None:
    views = ranked(is_trained=True)
    losses = views(*inputs(views, 1.0))
    torch.testing.assert_close(
        losses["loss"],
        losses["cross_entropy"]
        + losses["teacher_loss"]
        + FROM_TRAINED.weight * losses["view_loss"],
    )


def test_the_teacher_stays_what_the_weights_were() -> None:
    views = views_method(is_trained=True)
    assert views.teacher is not None
    before = {name: tensor.clone() for name, tensor in views.teacher.state_dict().items()}
    losses = views.train()(*inputs(views, 0.0))
    losses["loss"].backward()
    assert all(parameter.grad is None for parameter in views.teacher.parameters())
    after = views.teacher.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


@pytest.mark.parametrize("is_trained", [False, True])
def test_a_run_from_trained_weights_looks_more_through_views(*, is_trained: bool) -> None:
    viewing = FROM_TRAINED if is_trained else FROM_SCRATCH
    images, labels, sets = inputs(ranked(is_trained=is_trained), 1.0)
    n_viewed = int(24 * viewing.share)
    assert (len(images), len(labels), len(sets)) == (24 + n_viewed, 24 + n_viewed, n_viewed)


@pytest.mark.parametrize("share", [0.5, 1.0, 1.25, 2.0])
def test_images_are_seen_again_equally_often_or_once_more(
    share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views_module, "FROM_SCRATCH", Viewing(share, 1.0, (1, 2, 3)))
    views = ranked()
    images, labels, sets = inputs(views, 1.0)
    whole, again = images[:24].flatten(1), images[24:].flatten(1)
    is_of = (again[:, None] == whole).all(2)

    assert len(again) == len(sets) == int(24 * share)
    assert set(is_of.sum(0).tolist()) == {int(share), math.ceil(share)}
    assert torch.equal(labels[24:], labels[:24][is_of.int().argmax(1)])


def test_what_a_view_is_taught_is_said_of_its_own_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views_module, "FROM_SCRATCH", Viewing(1.25, 1.0, (2,)))
    views = ranked()
    views._kept = {layer: torch.ones_like(kept) for layer, kept in views.kept().items()}
    seen: list[tuple[torch.Tensor, ...]] = []

    def loss(*arguments: torch.Tensor) -> torch.Tensor:
        seen.append(arguments)
        return arguments[0].mean()

    monkeypatch.setattr(views_module, "view_loss", loss)
    views(*inputs(views, 1.0))
    logits, _, _, taught = seen[0]

    torch.testing.assert_close(logits, taught)  # of views that cut nothing
    assert not torch.allclose(logits[0], logits[1])


def test_views_have_the_sizes_of_their_kind_of_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views_module, "FROM_SCRATCH", Viewing(1.0, 1.0, (1,)))
    monkeypatch.setattr(views_module, "FROM_TRAINED", Viewing(1.0, 1.0, (2,)))
    for is_trained in (False, True):
        sets = inputs(ranked(is_trained=is_trained), 1.0)[2]
        assert set(sets.sum(1).tolist()) == {1 + is_trained}


@pytest.mark.parametrize("n_classes", [2, 3, 10])
def test_views_keep_as_many_classes_as_drawn_and_the_image_s_own_among_several(
    n_classes: int,
) -> None:
    labels = torch.arange(3000) % n_classes
    views = draw_views(labels, n_classes, FROM_SCRATCH.sizes, seeded_generator(0, 0, 0))
    n_kept = views.sum(1)
    sizes = {min(size, n_classes) for size in FROM_SCRATCH.sizes}
    assert set(n_kept.int().tolist()) == sizes
    assert bool((views[n_kept > 1].gather(1, labels[n_kept > 1, None]) == 1).all())
    own = views[n_kept == 1].gather(1, labels[n_kept == 1, None]).mean().item()
    assert own == pytest.approx(OWN_CLASS, abs=0.05)


def test_view_loss_is_binary_for_one_class_and_among_the_classes_for_several() -> None:
    logits = torch.tensor([[2.0, -1.0, 9.0], [0.5, 3.0, 9.0], [1.0, 2.0, 9.0]])
    whole = torch.tensor([[1.0, 0.0, 2.0], [0.0, 1.0, 0.0], [2.0, 1.0, 5.0]])
    views = torch.tensor([[1.0, 0, 0], [1.0, 0, 0], [1.0, 1, 0]])
    labels = torch.tensor([0, 1, 1])
    said = whole.softmax(1)[:, 0]
    first = (1 + said[0]) / 2 * softplus(-logits[0, 0]) + (1 - said[0]) / 2 * softplus(logits[0, 0])
    second = said[1] / 2 * softplus(-logits[1, 0]) + (2 - said[1]) / 2 * softplus(logits[1, 0])
    taught = whole[2, :2].softmax(0)
    third = -(logits[2, :2].log_softmax(0) * (taught + torch.tensor([0.0, 1.0])) / 2).sum()
    expected = (first + second + third) / 3
    torch.testing.assert_close(view_loss(logits, labels, views, whole), expected)


def test_view_loss_has_a_finite_gradient_where_the_image_is_of_another_class() -> None:
    logits = torch.randn(4, 3, requires_grad=True)
    views = torch.eye(3)[[0, 1, 2, 0]]
    loss = view_loss(logits, torch.tensor([1, 2, 0, 2]), views, torch.randn(4, 3))
    (gradient,) = torch.autograd.grad(loss, logits)
    assert bool(gradient.isfinite().all())
