"""What networks are trained for besides their classes, to tell unknown images."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from tests.training.small_runs import SMALL, InterruptAt, refused, train_small
from tests.training.toy_method import Toy
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from modpm.core.data import load_data
from modpm.core.formats.manifest import InputContract
from modpm.core.graph import GraphNetwork, build, trace
from modpm.core.networks import create
from modpm.core.origins.trained_network import Particulars, of_run
from modpm.core.tensors import load_tensors, save_tensors
from modpm.core.training.batches import Batch, TrainingImages
from modpm.core.training.checkpoint import read_checkpoint
from modpm.core.training.loop import train
from modpm.core.training.methods import find_method
from modpm.core.training.methods.method import Task
from modpm.core.training.methods.plain import Plain
from modpm.core.training.open_set import OPEN_SETS
from modpm.core.training.open_set.logit_norm import LogitNorm
from modpm.core.training.open_set.open_set import checked_epoch
from modpm.core.training.open_set.rotation import Rotation, features_of
from modpm.core.training.run import Run

if TYPE_CHECKING:
    from pathlib import Path


# Few training images, half being held out: an epoch is ten steps.
TEN_STEPS: dict[str, Any] = {"epochs": 2, "val_fraction": 0.5}


def digits_network() -> GraphNetwork:
    """Return a network whose values do not depend on what else is in a batch."""
    torch.manual_seed(0)
    return build(*trace(create("digits_cnn", 10, 1, 0.5), torch.zeros(2, 1, 8, 8))).eval()


# --- logits of one length ---------------------------------------------------------------------


def test_logitnorm_is_what_its_formula_says() -> None:
    logits, labels = torch.randn(5, 10), torch.tensor([0, 9, 2, 3, 0])
    method = Plain(digits_network(), Task(n_classes=10, retention=0.5, open_set=LogitNorm()))
    losses = []
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        length = math.sqrt(sum(x * x for x in row))
        odds = [math.exp(x / (0.04 * length)) for x in row]
        losses.append(-math.log(odds[label] / sum(odds)))
    entropy = method.entropy(logits, labels)
    assert entropy.item() == pytest.approx(sum(losses) / 5, rel=1e-5)
    torch.testing.assert_close(method.entropy(7 * logits, labels), entropy)
    assert bool(torch.isfinite(method.entropy(0 * logits, labels)))


# --- rotations --------------------------------------------------------------------------------


def some_images() -> TrainingImages:
    data = load_data("digits", "train").select(range(40))
    contract = InputContract(channels=1, height=8, width=8, mean=[0.5], std=[0.25])
    return TrainingImages(data, contract)


def drawn(rotation: Rotation, n: int = 10) -> tuple[Batch, tuple[Tensor, ...]]:
    batch = Batch(torch.randn(n, 1, 8, 8), torch.arange(n) % 10)
    return batch, rotation.draw(batch)


def test_each_image_of_a_batch_is_seen_once_turned() -> None:
    batch, (images, turns) = drawn(Rotation(digits_network()))
    found = [
        [k for k in range(4) if torch.equal(image, own.rot90(k, (1, 2)))]
        for image, own in zip(
            images, torch.cat([batch.images[i::4] for i in range(4)]), strict=True
        )
    ]
    assert found == [[k] for k in turns.tolist()]
    assert turns.bincount().tolist() == [3, 3, 2, 2]


@pytest.mark.parametrize("is_trained", [False, True])
@pytest.mark.parametrize("name", ["plain", "views", "mwt", "moda"])
def test_rotation_adds_its_loss_and_leaves_those_of_the_method(
    name: str, *, is_trained: bool
) -> None:
    kind, network = find_method(name), digits_network()
    graph, tensors = kind.prepare(network.graph, network.state_dict(), torch.Generator())
    network = build(graph, tensors).eval()
    rotation = Rotation(network)
    nn.init.normal_(rotation.head.weight)
    task = Task(10, 0.5, kind.settings, is_trained=is_trained)
    alone, both = kind(network, task), kind(network, replace(task, open_set=rotation))
    for method in (alone, both):
        if method.is_to_look(1.0):  # from then on views see some images again
            method.look(some_images())
        method.eval()
    batch, seen = drawn(rotation)
    inputs = both.draw(batch, torch.Generator().manual_seed(0))
    expected, found = alone(*inputs), both(*inputs, *seen)
    told = [
        cross_entropy(
            rotation.head(network.run(image[None], (rotation.features,))[rotation.features]),
            turn[None],
        )
        for image, turn in zip(*seen, strict=True)
    ]
    lost = torch.stack(told).mean()
    torch.testing.assert_close(found.pop("rotation_loss"), lost)
    expected["loss"] = expected["loss"] + 0.5 * lost
    torch.testing.assert_close(found, expected)


def test_factors_on_values_of_a_method_leave_those_of_turned_images() -> None:
    network = digits_network()
    rotation, output = Rotation(network), network.graph.output
    node = next(node.name for node in network.graph.nodes if node.operator == "relu")
    images, factor = torch.randn(5, 1, 8, 8), torch.rand(5, 1, 1, 1)
    _, seen = drawn(rotation)
    nn.init.normal_(rotation.head.weight)
    for scale in ({node: factor}, {node: factor[0, 0, 0]}, None):
        rotation.take(*seen)
        found = rotation.run(network, images, (output,), scale)
        torch.testing.assert_close(found, network.run(images, (output,), scale))
    rotation.take(*seen)
    rotation.run(network, images, (output,), {node: factor})
    lost = rotation.add({"loss": torch.zeros(())})["rotation_loss"]
    rotation.take(*seen)
    rotation.run(network, images, (output,), None)
    torch.testing.assert_close(rotation.add({"loss": torch.zeros(())})["rotation_loss"], lost)


def test_the_head_reads_what_the_last_layer_reads_whichever_it_is() -> None:
    network = nn.Sequential(
        nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Conv2d(6, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    graph, tensors = trace(network, torch.zeros(2, 1, 8, 8))
    rotation = Rotation(build(graph, tensors))
    assert graph.node(features_of(graph)).operator == "relu"
    assert rotation.head.in_features == 6
    _, seen = drawn(rotation)
    rotation.take(*seen)
    rotation.run(build(graph, tensors), seen[0], (graph.output,), None)
    lost = rotation.add({"loss": torch.zeros(())})["rotation_loss"]
    assert lost.item() == pytest.approx(math.log(4))  # its head starts at zero


def test_it_is_checked_when_the_network_has_seen_enough() -> None:
    assert checked_epoch(n_epochs=30, n_steps=351) == 8
    assert checked_epoch(n_epochs=3, n_steps=70) == 3
    assert checked_epoch(n_epochs=20, n_steps=70) == 5
    assert checked_epoch(n_epochs=20, n_steps=18) == 12


# --- runs -------------------------------------------------------------------------------------


@pytest.mark.usefixtures("kept_often")
@pytest.mark.parametrize("method", ["plain", "views"])
def test_an_interrupted_run_with_rotation_ends_in_the_same_bytes(
    tmp_path: Path, method: str
) -> None:
    settings = TEN_STEPS | {"method": method, "open_set": "rotation"}
    straight = train_small(tmp_path / "straight", **settings)
    folder = tmp_path / "stopped"
    refused(lambda: train_small(folder, **settings, progress=InterruptAt(2, step=3)), "interrupted")
    kept = read_checkpoint(folder / "last.safetensors")
    assert kept.steps_done == 11
    for own in (kept.state, kept.momentum):
        assert bool(own["open_set.head.weight"].any())
    without = settings | {"open_set": None}
    refused(lambda: train_small(folder, **without, resume=True), "settings-differ")
    assert train_small(folder, **settings, resume=True).digest() == straight.digest()
    for line in straight.metrics():
        assert 0.3 < line["rotation_accuracy"] < 1
        assert 0 < line["rotation_loss"] < 2


def test_nothing_of_rotation_is_in_what_comes_of_a_run(tmp_path: Path) -> None:
    run, alone = (
        train_small(tmp_path / f"{name}", method="plain", open_set=name, **TEN_STEPS)
        for name in ("rotation", None)
    )
    assert run.graph == alone.graph
    tensors, others = (load_tensors(one.folder / "model.safetensors") for one in (run, alone))
    assert tensors.keys() == others.keys()
    assert not any(torch.equal(x, others[name]) for name, x in tensors.items())
    assert run.findings == {}
    assert "<td>open_set</td><td>rotation</td>" in (run.folder / "report.html").read_text("utf-8")
    said = [of_run(one, Particulars(), None).effort.parameters for one in (run, alone)]
    assert said == [{"open_set": "rotation"}, {}]  # in manifests and on cards


def test_a_run_from_trained_weights_is_taught_and_trained_for_more(tmp_path: Path) -> None:
    weights = tmp_path / "weights.safetensors"
    save_tensors(weights, create("digits_cnn", 10, 1, 0.5).state_dict())
    for name in OPEN_SETS:
        run = train_small(tmp_path / name, init=weights, open_set=name, **TEN_STEPS)
        assert {"teacher_loss", "view_loss", "cross_entropy"} <= run.metrics()[0].keys()
        assert Run.open(run.folder).config.open_set == name


RINGS = ["wide", "narrow"]


def rings(n: int) -> tuple[Tensor, Tensor]:
    """Return images of rings, which look the same however they are turned, and their classes."""
    place = torch.arange(8) - 3.5
    radius = (place**2 + place[:, None] ** 2).sqrt()
    labels = torch.arange(n) % 2
    waves = 0.5 + 0.4 * torch.sin((1 + labels)[:, None, None] * radius + torch.rand(n, 1, 1))
    return waves[:, None], labels


def test_images_that_look_alike_however_they_are_turned_are_refused(tmp_path: Path) -> None:
    torch.manual_seed(0)
    settings = SMALL | TEN_STEPS | {"method": "plain", "open_set": "rotation", "batch_size": 16}
    folder = tmp_path / "run"
    error = refused(
        lambda: train(rings(300), "digits_cnn", output=folder, classes=RINGS, **settings),
        "rotations-not-told",
    )
    assert error.where == f"{folder}, epoch 2"
    assert "of 150 held-out images" in str(error.why)
    assert "guessing tells 25.00 %, give or take 10.61 %" in str(error.why)
    assert "--open-set logitnorm" in str(error.hint)
    assert not Run.open(folder).is_finished


def test_images_that_are_not_square_are_refused_before_training(tmp_path: Path) -> None:
    images = torch.rand(20, 1, 8, 10), torch.arange(20) % 2
    settings, folder = SMALL | TEN_STEPS | {"open_set": "rotation"}, tmp_path / "run"
    error = refused(
        lambda: train(images, "digits_cnn", output=folder, classes=RINGS, **settings),
        "bad-setting",
    )
    assert "they are 10 x 8" in str(error.why)
    assert error.exit_code == 2
    assert not folder.exists()


def test_a_name_that_stands_for_nothing_is_refused(tmp_path: Path) -> None:
    error = refused(lambda: train_small(tmp_path / "run", open_set="magic"), "bad-setting")
    assert error.why == "it must be rotation or logitnorm"
    assert not (tmp_path / "run").exists()


class Unusual(Toy):
    """A method that runs the network by itself."""

    def loss(self, *inputs: Tensor) -> dict[str, Tensor]:
        return {"loss": self.network(inputs[0]).square().mean()}


@pytest.mark.parametrize("name", OPEN_SETS)
def test_a_method_that_leaves_nothing_to_add_to_is_refused(tmp_path: Path, name: str) -> None:
    method = f"{__name__}:Unusual"
    error = refused(
        lambda: train_small(tmp_path / "run", method=method, open_set=name), "bad-setting"
    )
    assert f"leave out `--open-set {name}`" in str(error.hint)
