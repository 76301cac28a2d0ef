"""Corrections that a cut network learns while its kernels stay."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from modpm.core.data import ImageData
from modpm.core.formats.manifest import InputContract
from modpm.core.formats.network_graph import AttributeValue, Graph, Node
from modpm.core.graph import build
from modpm.core.graph.side_by_side import PlainNetwork
from modpm.core.training.batches import TrainingImages
from modpm.core.training.learned_corrections import learn_corrections
from modpm.core.training.one_vs_rest import OneVsRest

if TYPE_CHECKING:
    from torch import Tensor

CONTRACT = InputContract(channels=1, height=6, width=6, mean=[0.5], std=[0.25])
CORRECTIONS = ["first.anew.weight", "first.anew.bias"]
CONV: dict[str, AttributeValue] = {
    "n_kernels": 2, "kernel_size": [1, 1], "stride": [1, 1], "padding": [0, 0],
    "dilation": [1, 1], "groups": 1,
}  # fmt: skip


def network() -> PlainNetwork:
    """Return a network that knows of brightness, and hides it behind a relu."""
    roles = ("weight", "bias")
    nodes = (
        Node("first", "conv2d", ("image",), CONV, {role: f"first.{role}" for role in roles}),
        Node(
            "first.anew", "channel_affine", ("first",), {},
            {role: f"first.anew.{role}" for role in roles},
        ),
        Node("relu", "relu", ("first.anew",)),
        Node("mean", "mean", ("relu",), {"keepdim": False}),
        Node("last", "linear", ("mean",), {"n_features": 1}, {r: f"last.{r}" for r in roles}),
    )  # fmt: skip
    tensors = {
        "first.weight": torch.tensor([1.0, -1.0]).view(2, 1, 1, 1),
        "first.bias": torch.zeros(2),
        "first.anew.weight": torch.ones(2),
        "first.anew.bias": torch.full((2,), -1.2),  # nearly all is below zero
        "last.weight": torch.tensor([[1.0, -1.0]]),
        "last.bias": torch.zeros(1),
    }
    return PlainNetwork(Graph("image", (1, 6, 6), nodes, "last"), tensors)


@pytest.fixture(scope="module")
def images() -> TrainingImages:
    labels = torch.arange(80) % 4
    gray = (40 + 60 * labels).byte()  # the darkest is told by any threshold below the second
    pixels = gray[:, None, None, None].expand(80, 1, 6, 6).clone()
    names = ("darkest", "dark", "light", "lightest")
    return TrainingImages(ImageData(pixels, labels, names, "toy", "train"), CONTRACT)


def loss(one: PlainNetwork, images: TrainingImages, label: int) -> float:
    """Return the least loss among a few pairs of numbers that make odds of the logit."""
    batch = images.batch(torch.arange(80), torch.Generator().manual_seed(0))
    with torch.no_grad():
        logits = build(one.graph, one.tensors).eval()(batch.images)[:, 0]
    is_class = (batch.labels == label).float()
    weight = torch.where(is_class > 0, 2.0, 2 / 3)
    return min(
        float(binary_cross_entropy_with_logits(slope * logits + shift, is_class, weight))
        for slope in (0.5, 1.0, 2.0, 4.0)
        for shift in torch.linspace(-4, 4, 17)
    )


def learned(images: TrainingImages, n_steps: int = 150) -> dict[str, Tensor]:
    return learn_corrections(network(), CORRECTIONS, OneVsRest(images, 3, n_steps))


def test_a_network_learns_to_say_what_its_corrections_hid(images: TrainingImages) -> None:
    before, found = network(), learned(images)
    assert list(found) == CORRECTIONS
    after = PlainNetwork(before.graph, {**before.tensors, **found})
    assert loss(after, images, 3) < 0.8 * loss(before, images, 3)


def test_what_is_not_named_stays(images: TrainingImages) -> None:
    before = network()
    kept = {name: tensor.clone() for name, tensor in before.tensors.items()}
    found = learn_corrections(before, CORRECTIONS[1:], OneVsRest(images, 3, 5))
    assert list(found) == CORRECTIONS[1:]
    assert not torch.equal(found[CORRECTIONS[1]], kept[CORRECTIONS[1]])
    assert not any(tensor.requires_grad for tensor in found.values())
    assert all(torch.equal(tensor, before.tensors[name]) for name, tensor in kept.items())


def test_the_same_images_teach_the_same(images: TrainingImages) -> None:
    first, second = learned(images, 5), learned(images, 5)
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())


def test_a_teacher_says_how_probable_the_class_is_where_half_of_the_images_show_it(
    images: TrainingImages,
) -> None:
    chance = torch.Generator().manual_seed(0)
    mean = Node("mean", "mean", ("image",), {"keepdim": False})
    roles = {"weight": "last.weight", "bias": "last.bias"}
    graph = Graph(
        "image", (1, 6, 6), (mean, Node("last", "linear", ("mean",), {"n_features": 4}, roles)),
        "last",
    )  # fmt: skip
    tensors = {
        "last.weight": torch.randn(4, 1, generator=chance),
        "last.bias": torch.randn(4, generator=chance),
    }
    teacher = build(graph, tensors).eval()
    batch = images.batch(torch.arange(80), chance)
    with torch.no_grad():
        probable = teacher(batch.images).softmax(1)[:, 3]
    # A quarter of the images shows the class: among as many of each side it counts three times.
    expected = 3 * probable / (3 * probable + 1 - probable)
    lesson = OneVsRest(images, 3, 1, teacher)
    torch.testing.assert_close(lesson._targets(batch.images, batch.labels), expected)
    labels = OneVsRest(images, 3, 1)._targets(batch.images, batch.labels)
    assert torch.equal(labels, batch.labels == 3)
