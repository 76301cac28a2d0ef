"""Masks that are learned for each class while the network stays as it is."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import one_hot

from modpm.core.data import ImageData
from modpm.core.formats.manifest import InputContract
from modpm.core.graph import build, trace
from modpm.core.training import learned_masks
from modpm.core.training.batches import TrainingImages
from modpm.core.training.evidence import Cutoff
from modpm.core.training.learned_masks import LearnedMasks

CONTRACT = InputContract(channels=1, height=6, width=6, mean=[0.5], std=[0.25])
N_CLASSES = 3


@pytest.fixture(autouse=True)
def _in_few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learned_masks, "N_STEPS", 40)
    monkeypatch.setattr(learned_masks, "RATE", 0.02)


class OneKernelEach(nn.Module):
    """Kernel i of the second layer alone says if class i shows; three more say nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 3, 3, padding=1)
        self.second = nn.Conv2d(3, 2 * N_CLASSES, 3, padding=1)
        self.norm = nn.BatchNorm2d(2 * N_CLASSES)
        self.last = nn.Linear(2 * N_CLASSES, N_CLASSES)
        for parameter in self.parameters():
            nn.init.zeros_(parameter)
        self.first.bias = nn.Parameter(1.0 - torch.arange(N_CLASSES))
        with torch.no_grad():
            for i in range(N_CLASSES):  # what the first layer knows of brightness, bent at i
                self.first.weight[i, 0, 1, 1] = 1.0
            for i in range(N_CLASSES):
                self.second.weight[i, :, 1, 1] = torch.tensor(PEAKS[i])
            self.norm.weight.fill_(1.0)
            self.last.weight.copy_(4.0 * torch.eye(N_CLASSES, 2 * N_CLASSES))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.norm(self.second(torch.relu(self.first(x)))))
        return self.last(x.mean((2, 3)))  # type: ignore[no-any-return]  # torch has no type for it


PEAKS = [[-1.0, 0.0, 0.0], [1.0, -2.0, 0.0], [0.0, 1.0, 0.0]]


def images() -> TrainingImages:
    labels = torch.arange(60) % N_CLASSES
    gray = torch.tensor([0, 128, 255], dtype=torch.uint8)[labels]
    pixels = gray[:, None, None, None].expand(60, 1, 6, 6).clone()
    return TrainingImages(
        ImageData(pixels, labels, ("dark", "gray", "light"), "toy", "train"), CONTRACT
    )


def evidence() -> tuple[LearnedMasks, dict[str, torch.Tensor]]:
    graph, tensors = trace(OneKernelEach(), torch.zeros(2, 1, 6, 6))
    worst = -one_hot(torch.arange(N_CLASSES), 2 * N_CLASSES).float()  # a class's kernel comes last
    return LearnedMasks(build(graph, tensors).eval(), images(), {"second": worst}, 9), tensors


def test_a_class_learns_to_keep_the_kernel_that_says_it() -> None:
    found, _ = evidence()
    masks = found.masks(Cutoff(retention=5 / 9))  # two of six kernels, all of the first layer
    assert masks["second"].sum(1).tolist() == [2, 2, 2]
    assert masks["second"][:, :N_CLASSES].diagonal().all()


def test_the_network_stays_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learned_masks, "N_STEPS", 3)
    found, tensors = evidence()
    told: list[tuple[int, int]] = []
    found = LearnedMasks(
        found.network, found.images, found.start, 9, lambda *how_far: told.append(how_far)
    )
    found.masks(Cutoff(retention=5 / 9))
    after = found.network.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in tensors.items())
    assert not any(layer.training for layer in found.network.modules())
    assert all(p.requires_grad and p.grad is None for p in found.network.parameters())
    assert told == [(i, len(told)) for i in range(1, len(told) + 1)]


def test_the_same_images_give_the_same_masks_and_are_asked_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(learned_masks, "N_STEPS", 3)
    cutoff = Cutoff(retention=6 / 9)
    (first, _), (second, _) = evidence(), evidence()
    assert torch.equal(first.masks(cutoff)["second"], second.masks(cutoff)["second"])
    assert first.masks(cutoff) is first.masks(cutoff)


def test_kernels_are_taken_off_step_by_step() -> None:
    rates = [learned_masks._kept_at(step, 0.5) for step in range(1, 41)]
    assert rates[0] == pytest.approx(0.9)
    assert rates == sorted(rates, reverse=True)
    assert rates[24:] == [0.5] * 16  # three fifths of 40 steps
    assert learned_masks._kept_at(1, 0.95) == 0.95  # never fewer than are asked for
