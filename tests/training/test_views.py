from __future__ import annotations

import pytest
import torch
from torch.nn.functional import softplus

from modpm.core.data import ImageData
from modpm.core.formats.manifest import InputContract
from modpm.core.graph import build, trace
from modpm.core.networks import create
from modpm.core.training.batches import TrainingImages, seeded_generator
from modpm.core.training.losses import cohesion_loss, coupling_loss
from modpm.core.training.mask_generators import attach_mask_generators, mask_nodes
from modpm.core.training.objectives import MwtObjective
from modpm.core.training.running_frequencies import RunningFrequencies
from modpm.core.training.views import START, ViewsObjective, sharpening_loss, view_loss


def some_images() -> TrainingImages:
    chance = torch.Generator().manual_seed(0)
    images = torch.randint(256, (24, 1, 8, 8), generator=chance, dtype=torch.uint8)
    data = ImageData(images, torch.arange(24) % 3, ("a", "b", "c"), "made up", "train")
    contract = InputContract(channels=1, height=8, width=8, mean=[0.5], std=[0.25])
    return TrainingImages(data, contract)


def objective(method: type[MwtObjective]) -> MwtObjective:
    torch.manual_seed(0)
    plain = trace(create("digits_cnn", 3, 1, 0.25), torch.zeros(2, 1, 8, 8))
    graph, tensors = attach_mask_generators(*plain, generator=seeded_generator(0, 0, 0))
    masked = {conv: graph.kernels()[conv] for conv in mask_nodes(graph)}
    frequencies = RunningFrequencies(3, masked)
    network = build(graph, tensors)
    if method is MwtObjective:
        return MwtObjective(network, frequencies, alpha=0.5, beta=1.5)
    return ViewsObjective(network, frequencies, alpha=0.5, beta=1.5, threshold=0.9)


def inputs(of: MwtObjective, progress: float) -> tuple[torch.Tensor, ...]:
    return of.inputs(torch.arange(24), some_images(), seeded_generator(0, 0, 1), progress)


def test_mwt_minimises_the_sum_that_the_paper_says() -> None:
    mwt = objective(MwtObjective)
    images, labels = inputs(mwt, 0.9)
    losses = mwt(images, labels)
    nodes = mask_nodes(mwt.network.graph)
    mwt.network.train()
    masks = list(mwt.network.run(images, list(nodes.values())).values())
    torch.testing.assert_close(losses["cohesion_loss"], cohesion_loss(masks, labels))
    torch.testing.assert_close(losses["coupling_loss"], coupling_loss(masks, labels))
    torch.testing.assert_close(
        losses["loss"],
        losses["cross_entropy"] + 0.5 * losses["cohesion_loss"] + 1.5 * losses["coupling_loss"],
    )


def test_views_begin_late() -> None:
    views = objective(ViewsObjective)
    assert "view_loss" not in views(*inputs(views, START - 0.01))
    assert "view_loss" in views(*inputs(views, START))


def test_views_show_the_module_mask_and_whole_images_the_whole_network() -> None:
    views = objective(ViewsObjective)
    assert isinstance(views, ViewsObjective)
    for _ in range(3):
        views(*inputs(views, 0.0))
    images, labels, viewed_as = inputs(views, 1.0)
    seen = []
    run = views.network.run
    views.network.run = lambda *arguments: seen.append(arguments) or run(*arguments)  # type: ignore[method-assign,func-returns-value]  # looks on
    views(images, labels, viewed_as)
    scale = seen[0][2]
    n_whole = len(labels) - len(viewed_as)
    module_masks = views.frequencies.module_masks(0.9)
    for layer, node in views.mask_nodes.items():
        assert torch.equal(scale[node][:n_whole], torch.ones_like(scale[node][:n_whole]))
        assert torch.equal(scale[node][n_whole:], module_masks[layer][viewed_as])


def test_view_loss_is_the_mean_binary_cross_entropy_of_the_viewed_logits() -> None:
    logits = torch.tensor([[2.0, -1.0], [0.5, 3.0]])
    expected = (softplus(-logits[0, 0]) + softplus(logits[1, 0])) / 2
    found = view_loss(logits, torch.tensor([0, 1]), torch.tensor([0, 0]))
    torch.testing.assert_close(found, expected)


def test_sharpening_loss_equals_a_naive_loop() -> None:
    chance = torch.Generator().manual_seed(1)
    scores = {"a": torch.randn(4, 3, generator=chance), "b": torch.randn(4, 2, generator=chance)}
    masks = {"a": torch.tensor([[1.0, 0, 0], [0, 1, 1]]), "b": torch.tensor([[0.0, 1], [1, 0]])}
    labels = torch.tensor([0, 1, 1, 0])
    terms = []
    for layer, score in scores.items():
        for i, label in enumerate(labels.tolist()):
            for k, value in enumerate(score[i].tolist()):
                is_retained = bool(masks[layer][label, k])
                terms.append(max(0.0, 0.2 - value) if is_retained else max(0.0, value + 0.1))
    found = sharpening_loss(scores, masks, labels).item()
    assert found == pytest.approx(sum(terms) / len(terms), rel=1e-5)
