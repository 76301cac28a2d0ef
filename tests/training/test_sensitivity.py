"""Sensitivity against what removing a kernel does, and the kernels that are kept by it."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn

from modpm.core.data import ImageData, normalize
from modpm.core.formats.manifest import InputContract
from modpm.core.graph import build, trace
from modpm.core.training.batches import TrainingImages
from modpm.core.training.evidence import Cutoff, Sensitivity, first_kernels
from modpm.core.training.sensitivity import sensitivity_of_kernels

CONTRACT = InputContract(channels=1, height=6, width=6, mean=[0.4], std=[0.3])


def network() -> nn.Module:
    """Return a network whose logits are linear in the values of the second layer's kernels."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Conv2d(3, 5, 3), nn.Flatten(), nn.Linear(20, 3)
    )


def images(n: int = 40) -> TrainingImages:
    chance = torch.Generator().manual_seed(1)
    labels = torch.arange(n) % 4 % 3  # one class has twice as many
    pixels = torch.randint(256, (n, 1, 6, 6), generator=chance, dtype=torch.uint8)
    pixels[labels == 1, :, :3] //= 4
    return TrainingImages(ImageData(pixels, labels, ("a", "b", "c"), "toy", "train"), CONTRACT)


def test_sensitivity_is_the_variance_of_what_a_removed_kernel_takes_from_the_logit() -> None:
    whole, data = network(), images()
    graph, tensors = trace(whole, torch.zeros(2, 1, 6, 6))

    (found,) = sensitivity_of_kernels(build(graph, tensors), data).values()

    x, labels = normalize(data.data.images, [0.4], [0.3]), data.data.labels
    with torch.no_grad():
        logits = whole(x)
        for kernel in range(5):
            without = network()
            layer = without[2]  # type: ignore[index]  # it is sequential
            layer.weight[kernel], layer.bias[kernel] = 0.0, 0.0
            moved = logits - without(x)
            for label in range(3):
                weights = torch.where(labels == label, 0.5, 0.0) / (labels == label).sum()
                weights += torch.where(labels != label, 0.5, 0.0) / (labels != label).sum()
                mean = (weights * moved[:, label]).sum()
                variance = (weights * (moved[:, label] - mean) ** 2).sum()
                torch.testing.assert_close(found[label, kernel], variance, rtol=1e-3, atol=1e-6)


def test_the_network_is_left_in_the_mode_it_was_in_and_has_no_gradients() -> None:
    built = build(*trace(network(), torch.zeros(2, 1, 6, 6))).train()
    sensitivity_of_kernels(built, images())
    assert built.training
    assert all(parameter.grad is None for parameter in built.parameters())


def test_first_kernels_are_the_best_of_all_layers_and_one_of_each() -> None:
    scores = {
        "early": torch.tensor([[0.9, 0.8, 0.7, 0.6], [0.1, 0.2, 0.3, 0.4]]),
        "late": torch.tensor([[0.5, 0.1], [0.9, 0.8]]),
    }
    masks = first_kernels(scores, n_all=8, retention=0.75)  # two kernels are not cut
    assert masks["early"].tolist() == [[True, True, True, False], [False, False, True, True]]
    assert masks["late"].tolist() == [[True, False], [True, True]]

    least = Sensitivity(scores, 8).masks(Cutoff(retention=0.01))
    assert [mask.sum(1).tolist() for mask in least.values()] == [[1, 1], [1, 1]]


def test_larger_modules_keep_what_smaller_ones_do() -> None:
    chance = torch.Generator().manual_seed(2)
    evidence = Sensitivity({name: torch.rand(3, 7, generator=chance) for name in "abc"}, 25)
    tables = [torch.cat(list(evidence.masks(one).values()), 1) for one in evidence.candidates(0.75)]
    for larger, smaller in pairwise(tables):
        assert bool((larger >= smaller).all())
        assert len(set(larger.sum(1).tolist())) == 1
    assert bool(tables[0].all())
