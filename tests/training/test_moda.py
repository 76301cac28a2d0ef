"""`moda`: its losses, the layers it reads, and what is cut by them."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn

from modpm.core.errors import ModpmError
from modpm.core.graph import Graph, build, trace
from modpm.core.modularizing.modularize import modularize
from modpm.core.networks import create
from modpm.core.slicing import cuttable_convolutions, mask_network, slice_graph
from modpm.core.training.batches import TrainingImages
from modpm.core.training.evidence import ActivationRates, Cutoff
from modpm.core.training.inference import normalizing
from modpm.core.training.loop import train
from modpm.core.training.methods.method import Task
from modpm.core.training.methods.moda import Moda, relus, relus_of_kernels

if TYPE_CHECKING:
    from pathlib import Path

    from modpm.core.training.run import Run

WEIGHTS = {"affinity": 0.7, "dispersion": 1.2, "compactness": 0.4}


def images(n: int) -> Tensor:
    return torch.randn(n, 1, 8, 8, generator=torch.Generator().manual_seed(3))


def digits_network() -> tuple[Graph, dict[str, Tensor]]:
    torch.manual_seed(0)
    return trace(create("digits_cnn", 3, 1, 0.25), torch.zeros(2, 1, 8, 8))


def moda_of(network: tuple[Graph, dict[str, Tensor]], dtype: torch.dtype | None = None) -> Moda:
    prepared = Moda.prepare(*network, torch.Generator())
    return Moda(build(*prepared), Task(3, 0.5, WEIGHTS, dtype)).train()


def naive_losses(layers: list[Tensor], labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Pair by pair, layer by layer: affinity, dispersion and compactness."""
    same, different = [], []
    for layer in layers:
        cosines: dict[bool, list[Tensor]] = {True: [], False: []}
        for i, j in combinations(range(len(labels)), 2):
            cosine = torch.cosine_similarity(layer[i], layer[j], dim=0)
            cosines[bool(labels[i] == labels[j])].append(cosine)
        same.append(1 - torch.stack(cosines[True]).mean())
        different.append(torch.stack(cosines[False]).mean())
    sizes = [layer.abs().sum() / layer.numel() for layer in layers]
    return torch.stack(same).mean(), torch.stack(different).mean(), torch.stack(sizes).mean()


def test_losses_and_gradients_are_those_of_the_pairs_one_by_one() -> None:
    moda, batch, labels = moda_of(digits_network()), images(9), torch.arange(9) % 3
    losses = moda(batch, labels)
    output = moda.network.graph.output
    values = moda.network.run(batch, (output, *moda.relus))
    behind = [values[relu].abs() for relu in moda.relus]
    layers = [value.flatten(2).mean(2) if value.dim() > 2 else value for value in behind]
    affinity, dispersion, compactness = naive_losses(layers, labels)
    torch.testing.assert_close(losses["affinity_loss"], affinity)
    torch.testing.assert_close(losses["dispersion_loss"], dispersion)
    torch.testing.assert_close(losses["compactness_loss"], compactness)
    entropy = nn.functional.cross_entropy(values[output], labels)
    total = entropy + 0.7 * affinity + 1.2 * dispersion + 0.4 * compactness
    torch.testing.assert_close(losses["loss"], total)
    parameters = list(moda.network.parameters())
    found = torch.autograd.grad(losses["loss"], parameters)
    expected = torch.autograd.grad(total, parameters)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


def test_moda_has_the_recipe_of_the_paper() -> None:
    assert Moda.recipe(is_trained=False) == (0.05, 0.0, 0.0)
    assert Moda.settings == {"affinity": 1.0, "dispersion": 1.0, "compactness": 0.3}


def test_bfloat16_gives_losses_and_gradients_in_float32() -> None:
    exact, rounded = moda_of(digits_network()), moda_of(digits_network(), torch.bfloat16)
    batch, labels = images(12), torch.arange(12) % 3
    found, expected = rounded(batch, labels), exact(batch, labels)
    for name, loss in expected.items():
        assert found[name].dtype == torch.float32
        torch.testing.assert_close(found[name], loss, rtol=0.05, atol=0.02)
    found["loss"].backward()
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in rounded.parameters())


class Blocks(nn.Module):
    """A residual block, a depthwise layer, squeeze and excite, and a linear bottleneck."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, padding=1)
        self.first = nn.Conv2d(8, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.second = nn.Conv2d(8, 8, 3, padding=1)
        self.expand = nn.Conv2d(8, 12, 1)
        self.depthwise = nn.Conv2d(12, 12, 3, padding=1, groups=12)
        self.squeeze, self.excite = nn.Conv2d(12, 4, 1), nn.Conv2d(4, 12, 1)
        self.bottleneck = nn.Conv2d(12, 6, 1)
        self.last = nn.Conv2d(6, 10, 3)
        self.classifier = nn.Linear(10, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        x = torch.relu(self.second(torch.relu(self.norm(self.first(x)))) + x)
        x = nn.functional.relu6(self.depthwise(self.expand(x)))
        gate = torch.sigmoid(self.excite(torch.relu(self.squeeze(x.mean((2, 3), keepdim=True)))))
        x = self.last(self.bottleneck(x * gate))
        logits: Tensor = self.classifier(torch.relu(nn.functional.max_pool2d(x, 2)).mean((2, 3)))
        return logits


def test_a_relu_stands_for_the_kernels_that_reach_it_channel_by_channel() -> None:
    torch.manual_seed(0)
    graph, _ = trace(Blocks(), torch.zeros(2, 1, 8, 8))
    found = {conv: graph.node(relu) for conv, relu in relus_of_kernels(graph).items()}
    assert found.keys() == {"first", "second", "expand", "last"}
    assert cuttable_convolutions(graph).keys() - found.keys() == {"bottleneck"}
    read = {conv: graph.node(relu.inputs[0]) for conv, relu in found.items()}
    assert (read["first"].name, read["expand"].name) == ("norm", "depthwise")
    assert (read["second"].operator, read["last"].operator) == ("add", "max_pool2d")
    assert found["expand"].operator == "relu6"
    assert len(relus(graph)) == 6  # with those of the stem and of squeeze and excite


@pytest.mark.parametrize("arch", ["resnet20", "small_vgg"])
def test_every_kernel_of_the_shipped_networks_that_can_be_cut_has_a_relu(arch: str) -> None:
    graph, _ = trace(create(arch, 10, 3, 0.25), torch.zeros(2, 3, 32, 32))
    assert relus_of_kernels(graph).keys() == cuttable_convolutions(graph).keys()


def test_a_network_without_a_relu_is_refused() -> None:
    smooth = nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.SiLU(),
        nn.Conv2d(4, 4, 3),
        nn.SiLU(),
        nn.Flatten(),
        nn.Linear(64, 3),
    )
    with pytest.raises(ModpmError) as refusal:
        Moda.prepare(*trace(smooth, torch.zeros(2, 1, 8, 8)), torch.Generator())
    assert refusal.value.code == "nothing-to-modularize"
    assert refusal.value.why == "none that can be cut has a ReLU behind it"


def small_run(folder: Path, **settings: Any) -> Run:  # noqa: ANN401 -- passed on as they are
    small = {"width": 0.25, "epochs": 1, "lr": 0.05, "batch_size": 64, "val_fraction": 0.5}
    return train("digits", output=folder, method="moda", **(small | settings))


def test_a_moda_network_is_cut_as_it_is_masked(tmp_path: Path) -> None:
    run = small_run(tmp_path / "run", epochs=2)
    assert run.metrics()[-1].keys() >= {"compactness_loss", "kernel_retention_rate"}
    graph, tensors = run.network()
    training = TrainingImages(run.training_data(), run.input)
    evidence = Moda.evidence(build(graph, tensors), {}, training)
    assert isinstance(evidence, ActivationRates)
    for cutoff in (Cutoff(threshold=0.9), Cutoff(retention=0.4)):
        masks = evidence.masks(cutoff)
        for label in (0, 7):
            retained = {conv: mask[label].nonzero()[:, 0].tolist() for conv, mask in masks.items()}
            assert all(retained.values())
            sliced = build(*slice_graph(graph, tensors, retained, [label])).eval()
            masked = mask_network(graph, tensors, retained).eval()
            with torch.no_grad():
                found, expected = sliced(images(20)), masked(images(20))[:, [label]]
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_channels_are_kept_by_the_rate_at_which_they_are_active(tmp_path: Path) -> None:
    run = small_run(tmp_path / "run")
    said: list[str] = []
    dist = tmp_path / "dist"
    made = modularize(run, output=dist, measure_on="held-out", report=said.append)
    assert made.cutoff == Cutoff(threshold=0.9)
    assert made.cohesion is not None
    network, data = build(*run.network()).eval(), run.training_data()
    nodes = relus_of_kernels(run.graph)
    with torch.no_grad():
        pixels = normalizing(run.input)(data.images[data.labels == 7])
        values = network.run(pixels, tuple(nodes.values()))
    for conv, relu in nodes.items():
        rates = (values[relu].amax((2, 3)) > 0).double().mean(0)
        assert bool((rates >= 0.9).any())
        assert torch.equal(made.masks[conv][7], rates >= 0.9)
    assert made.kernel_retention_rate > 0.9  # of so short a run
    assert "`--retention 0.32` keeps those that are active most often" in said[-1]
    ranked = modularize(run, output=tmp_path / "half", retention=0.5, measure_on="held-out")
    assert ranked.kernel_retention_rate <= 0.5 < made.kernel_retention_rate
    assert ranked.manifests[0].modularizer.parameters["retention"] == 0.5


class HalfFrozen(nn.Module):
    """Its first two layers are frozen."""

    def __init__(self, n_classes: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, padding=1).requires_grad_(requires_grad=False)
        self.conv = nn.Conv2d(4, 8, 3, padding=1).requires_grad_(requires_grad=False)
        self.last = nn.Conv2d(8, 8, 3, padding=1)
        self.linear = nn.Linear(8, n_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.last(torch.relu(self.conv(torch.relu(self.stem(x))))))
        logits: Tensor = self.linear(x.mean((2, 3)))
        return logits


def test_frozen_parameters_stay(tmp_path: Path) -> None:
    one, other = (
        small_run(tmp_path / f"{lr}", arch=f"{__name__}:HalfFrozen", width=1.0, lr=lr)
        for lr in (0.05, 0.1)
    )
    assert set(one.record.frozen) == {"stem.weight", "stem.bias", "conv.weight", "conv.bias"}
    (_, trained), (_, otherwise) = one.network(), other.network()
    for name, tensor in trained.items():
        assert torch.equal(tensor, otherwise[name]) == (name in one.record.frozen)
