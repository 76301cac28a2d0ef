"""Class modules of networks that no run has trained: weights on disk, and networks in memory."""

from __future__ import annotations

import json
import math
import shlex
import shutil
from typing import TYPE_CHECKING, Any

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from tests.modularizing.small_run import learn_in_few_steps, train_small
from torch import nn

import modpm
from modpm.cli.train import command as train_command
from modpm.core.classifiers.class_module import ClassModule
from modpm.core.composition.compose import compose_modules
from modpm.core.errors import ModpmError
from modpm.core.modularizing import fitting
from modpm.core.networks import create, load_initial_weights
from modpm.core.origins.becoming_modular import command_to_train
from modpm.core.origins.trained_network import Particulars
from modpm.core.training.evidence import Cutoff, Sensitivity, first_kernels
from modpm.core.training.inference import accuracy
from modpm.core.training.learned_corrections import learn_corrections
from modpm.core.training.run import Run as TrainingRun

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Run

    from modpm.core.training.one_vs_rest import OneVsRest


DIGITS: dict[str, Any] = {"data": "digits", "mean": [0.3], "std": [0.4], "measure_on": "held-out"}
WEIGHTS: dict[str, Any] = {**DIGITS, "arch": "digits_cnn", "width": 0.5}
OPTIONS = ("--data", "digits", "--mean", "0.3", "--std", "0.4", "--arch", "digits_cnn",
           "--width", "0.5", "--measure-on", "held-out")  # fmt: skip


@pytest.fixture(scope="module")
def plain_run(tmp_path_factory: pytest.TempPathFactory) -> TrainingRun:
    """Return a run of an ordinary network, normalized as `DIGITS` says."""
    return train_small(
        tmp_path_factory.mktemp("runs") / "run", method="plain", mean=[0.3], std=[0.4], epochs=6
    )


@pytest.fixture(scope="module")
def weights(plain_run: TrainingRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file of its weights, and of nothing else."""
    path = tmp_path_factory.mktemp("weights") / "digits.safetensors"
    save_file(plain_run.network()[1], path)
    return path


def loaded(weights: Path) -> nn.Module:
    network = create("digits_cnn", 10, 1, 0.5)
    load_initial_weights(network, weights)
    return network


def test_weights_on_disk_become_modules_that_know_their_classes(
    run: Run, weights: Path, plain_run: TrainingRun, here: Path
) -> None:
    outcome = run("modularize", weights, *OPTIONS, "--effort", "none", "-o", "dist", "--json")

    assert (outcome.code, outcome.err) == (0, "")
    record = json.loads(outcome.out)
    assert record["origin"]["digest"] == plain_run.digest()
    assert record["retention"] == 0.75
    modules = [ClassModule.from_folder(here / one["path"]) for one in record["modules"]]
    manifest = modules[0].manifest
    assert manifest.modularizer.method == "sensitivity"
    assert manifest.modularizer.parameters["images_a_class"] == 600
    assert manifest.origin.architecture == "digits_cnn (width 0.5)"
    assert (manifest.provenance.data_set, manifest.input.mean) == ("digits", [0.3])
    assert manifest.provenance.fingerprint == plain_run.fingerprint
    test = plain_run.data("test")
    scores = compose_modules(modules, "independent").score_images(test.images)
    assert accuracy(scores, test.labels) > 0.9


def test_a_network_in_memory_gives_the_modules_of_its_weights(
    weights: Path, tmp_path: Path
) -> None:
    network = loaded(weights)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}

    live = modpm.modularize(network, output=tmp_path / "live", **DIGITS)
    filed = modpm.modularize(weights, output=tmp_path / "filed", **WEIGHTS)

    assert live.origin.architecture == "DigitsCNN"
    assert live.origin.digest == filed.origin.digest
    assert all(torch.equal(live.masks[layer], filed.masks[layer]) for layer in filed.masks)
    for one, other in zip(live.manifests, filed.manifests, strict=True):
        assert (one.graph, one.metrics) == (other.graph, other.metrics)
    after = network.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())


def test_a_checkpoint_of_torch_gives_the_same_as_safetensors(weights: Path, tmp_path: Path) -> None:
    path = tmp_path / "digits.pth"
    state = {f"module.{name}": tensor for name, tensor in loaded(weights).state_dict().items()}
    torch.save({"state_dict": state, "epoch": 3}, path)

    made = modpm.modularize(path, output=tmp_path / "dist", calibration="platt", **WEIGHTS)

    other = modpm.modularize(weights, output=tmp_path / "other", calibration="platt", **WEIGHTS)
    assert [one.digest for one in made.distributions] == [one.digest for one in other.distributions]


def test_classes_in_another_order_than_those_of_the_data_are_told(
    weights: Path, tmp_path: Path
) -> None:
    network, order = loaded(weights), [3, 1, 2, 0, 4, 5, 6, 7, 9, 8]
    head = [layer for layer in network.modules() if isinstance(layer, nn.Linear)][-1]
    with torch.no_grad():
        head.weight.copy_(head.weight[order])
        head.bias.copy_(head.bias[order])
    names = [str(i) for i in order]

    made = modpm.modularize(network, classes=names, output=tmp_path / "dist", **DIGITS)

    assert made.origin.classes == names
    assert made.manifests[0].name == "digits/3"
    assert made.manifests[0].metrics[0].average_precision > 0.9


def test_weights_are_trained_first_and_cut_by_one_command(
    run: Run, weights: Path, here: Path
) -> None:
    command = ("modularize", weights, *OPTIONS, "--calibration", "platt", "--effort", "train",
               "--epochs", "1", "--retention", "0.5", "-o", "dist", "--json")  # fmt: skip
    first = run(*command)

    assert first.code == 0
    record, trained = json.loads(first.out), TrainingRun.open(here / "dist.run")
    assert trained.config.init == str(weights)
    assert record["retention"] == trained.config.retention == 0.5
    assert record["origin"]["digest"] == trained.digest()
    manifest = ClassModule.from_folder(here / record["modules"][0]["path"]).manifest
    assert manifest.modularizer.method == "views"

    shutil.rmtree(here / "dist")  # the run that is there is gone on with, and is finished
    assert json.loads(run(*command).out)["origin"]["digest"] == record["origin"]["digest"]


@pytest.mark.parametrize("change", [{"classes": [str(9 - i) for i in range(10)]}, {"version": "x"}])
def test_what_cannot_be_trained_first_is_refused_before_training(
    weights: Path, tmp_path: Path, change: dict[str, Any]
) -> None:
    with pytest.raises(ModpmError):
        modpm.modularize(weights, effort="train", output=tmp_path / "dist", **WEIGHTS, **change)
    with pytest.raises(ModpmError) as refusal:
        modpm.modularize(loaded(weights), effort="train", output=tmp_path / "dist", **DIGITS)
    assert refusal.value.code == "bad-setting"
    assert list(tmp_path.iterdir()) == []


def test_the_least_effort_within_the_budget_is_taken(
    run: Run, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learn_in_few_steps(monkeypatch)
    said: list[str] = []
    settings = {**WEIGHTS, "effort": "auto", "calibration": "platt", "report": said.append}

    made = modpm.modularize(weights, output=tmp_path / "none", budget=30, **settings)
    assert {one.modularizer.method for one in made.manifests} == {"sensitivity"}
    assert [sentence.split()[1].strip(":") for sentence in said] == ["none", "none"]
    assert all(f"effort {name}: about " in said[0] for name in ("none", "gradient", "train"))

    monkeypatch.setattr(Sensitivity, "masks", _one_kernel_each)
    learned: list[int] = []

    def learn(network: Any, corrections: Any, lesson: OneVsRest) -> dict[str, torch.Tensor]:  # noqa: ANN401 -- passed on
        learned.append(lesson.label)
        return learn_corrections(network, corrections, lesson)

    monkeypatch.setattr(fitting, "learn_corrections", learn)
    made = modpm.modularize(weights, output=tmp_path / "gradient", budget=30, **settings)
    assert {one.modularizer.method for one in made.manifests} == {"gradient"}
    assert learned == [*range(10)]  # what was tried is what is written

    with pytest.raises(ModpmError) as refusal:
        modpm.modularize(
            weights, output=tmp_path / "small", budget=0, **{**settings, "retention": 0.1}
        )
    assert refusal.value.code == "budget-not-met"
    assert refusal.value.why is not None
    assert refusal.value.why.count("points lost") == 2
    hint = str(refusal.value.hint)
    words = shlex.split(hint.partition(", by `")[2].removesuffix("`"))
    assert words[:3] == ["modpm", "modularize", str(weights)]
    assert run(*words[1:], "--epochs", "1", "--calibration", "platt").code == 0
    trained = TrainingRun.open(tmp_path / "small.run")
    assert trained.config.init == str(weights)
    assert (trained.config.retention, trained.input.mean) == (0.1, [0.3])


def test_a_run_or_a_network_that_was_not_trained_to_be_cut_is_told_how(
    plain_run: TrainingRun, tmp_path: Path
) -> None:
    told = command_to_train(plain_run, Particulars(), tmp_path / "dist", 0.5)
    train, cutting = (shlex.split(one.strip("`")) for one in told.split(" and "))
    options = train_command.make_context("train", train[2:]).params
    assert (options["data"], options["arch"], options["width"]) == ("digits", "digits_cnn", 0.5)
    assert (options["mean"], options["retention"]) == (pytest.approx(plain_run.input.mean), 0.5)
    assert options["init"] == str(plain_run.folder / "model.safetensors")
    assert cutting == ["modpm", "modularize", options["output"], "-o", str(tmp_path / "dist")]
    assert "WEIGHTS" in command_to_train(nn.Identity(), Particulars(), tmp_path / "dist", None)


def _one_kernel_each(evidence: Sensitivity, _cutoff: Cutoff) -> dict[str, torch.Tensor]:
    return first_kernels(evidence.sensitivity, evidence.n_all, 0.0)


def test_effort_is_for_runs_too(
    plain_run: TrainingRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learn_in_few_steps(monkeypatch)
    made = modpm.modularize(
        plain_run, effort="gradient", output=tmp_path / "dist", measure_on="held-out"
    )
    assert {one.modularizer.method for one in made.manifests} == {"gradient"}
    rates = {one.kernel_retention_rate for one in made.manifests}
    assert len(rates) == 1
    assert 0.45 < rates.pop() <= 0.5


def test_a_network_that_knows_little_of_its_images_is_said_to(
    weights: Path, tmp_path: Path
) -> None:
    said: list[str] = []
    shifted = {**WEIGHTS, "mean": [-30.0]}

    modpm.modularize(weights, output=tmp_path / "dist", report=said.append, **shifted)
    assert any("near the 10.00 % of chance" in sentence for sentence in said)

    said.clear()
    modpm.modularize(weights, output=tmp_path / "other", report=said.append, **WEIGHTS)
    assert not any("chance" in sentence for sentence in said)


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        ({"data": None}, "no-data", "--data"),
        ({"arch": None}, "no-architecture", "--arch"),
        ({"mean": None}, "no-preprocessing", "--mean"),
        ({"std": None}, "no-preprocessing", "--std"),
        ({"std": [0.0]}, "bad-setting", "std"),
        ({"std": [math.inf]}, "bad-setting", "std"),
        ({"mean": [math.nan]}, "bad-setting", "mean"),
        ({"seed": -1}, "bad-setting", "from 0 to"),
        ({"val_fraction": 2.0}, "bad-setting", "below 1"),
        ({"mean": [0.1, 0.2], "std": [1.0, 1.0]}, "bad-setting", "one number each"),
        ({"arch": "small_vgg"}, "weights-mismatch", "--arch"),
        ({"width": 1.0}, "weights-mismatch", "--width"),
        ({"classes": ["0", "1"]}, "unknown-class", "the data has 0, 1, 2"),
        ({"effort": "much"}, "bad-setting", "none"),
        ({"retention": 0.0}, "bad-setting", "retention"),
        ({"threshold": 0.5}, "bad-setting", "--retention"),
    ],
)
def test_what_does_not_fit_is_refused_before_any_work(
    weights: Path, tmp_path: Path, change: dict[str, Any], code: str, words: str
) -> None:
    with pytest.raises(ModpmError) as refusal:
        modpm.modularize(
            weights, output=tmp_path / "dist", progress=_no_work, **{**WEIGHTS, **change}
        )
    error = refusal.value
    assert error.code == code
    assert words in f"{error.what} {error.why} {error.hint}"
    assert list(tmp_path.iterdir()) == []


def _no_work(what: str, _done: int, _of: int) -> None:
    raise AssertionError(what)


def test_weights_that_are_missing_or_need_unpickling_are_refused(tmp_path: Path) -> None:
    for content, code in ((None, "weights-not-found"), ({"x": OfAUser()}, "pickled-weights")):
        path = tmp_path / "digits.pth"
        if content is not None:
            torch.save(content, path)
        with pytest.raises(ModpmError) as refusal:
            modpm.modularize(path, output=tmp_path / "dist", **WEIGHTS)
        assert refusal.value.code == code


class OfAUser:
    """What weights alone never are."""


def test_a_head_of_another_number_of_classes_is_refused(tmp_path: Path) -> None:
    network = create("digits_cnn", 7, 1, 0.5)
    path = tmp_path / "seven.safetensors"
    save_file(network.state_dict(), path)
    for given, settings, words in (
        (path, WEIGHTS, "the data has 10"),
        (network, DIGITS, "one output for each of 10 classes"),
    ):
        with pytest.raises(ModpmError) as refusal:
            modpm.modularize(given, output=tmp_path / "dist", **settings)
        assert words in f"{refusal.value.what} {refusal.value.hint}"


@pytest.mark.parametrize(("size", "shape"), [(9, "1 x 9 x 9"), ([8, 9], "1 x 8 x 9")])
def test_an_image_size_that_the_network_cannot_take_is_refused(
    tmp_path: Path, size: int | list[int], shape: str
) -> None:
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(4 * 6 * 6, 10))
    with pytest.raises(ModpmError) as refusal:
        modpm.modularize(network, image_size=size, output=tmp_path / "dist", **DIGITS)
    assert refusal.value.code == "network-refuses-images"
    assert shape in refusal.value.what


def test_a_size_is_written_as_for_training(run: Run, weights: Path) -> None:
    outcome = run("modularize", weights, *OPTIONS, "--image-size", "8x", "-o", "dist")
    assert outcome.code == 2
    assert "is no size such as 224 or 160x224" in outcome.err


def test_images_of_one_class_are_refused(weights: Path, tmp_path: Path, here: Path) -> None:
    (here / "photos" / "cat").mkdir(parents=True)
    for i in range(8):
        Image.new("L", (8, 8), i).save(here / "photos" / "cat" / f"{i}.png")
    with pytest.raises(ModpmError) as refusal:
        modpm.modularize(weights, output=tmp_path / "dist", **{**WEIGHTS, "data": "photos"})
    assert refusal.value.code == "one-class"


def test_what_a_run_knows_of_its_network_is_not_to_be_said(
    plain_run: TrainingRun, tmp_path: Path
) -> None:
    with pytest.raises(ModpmError) as refusal:
        modpm.modularize(plain_run, output=tmp_path / "dist", data="digits", val_fraction=0.2)
    assert refusal.value.code == "bad-setting"
    assert refusal.value.what.startswith("`--data`, `--val-fraction`")
