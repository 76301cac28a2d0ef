"""A network and images in memory train, and are cut, as those with names do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch.utils.data import TensorDataset

import modpm
from modpm.core.data import GivenImages, as_data, load_data
from modpm.core.errors import ModpmError
from modpm.core.formats.manifest import Manifest
from modpm.core.networks import create
from modpm.core.origins.becoming_modular import command_to_train
from modpm.core.origins.trained_network import Particulars
from modpm.core.training.loop import train
from modpm.core.training.run import Run

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor, nn

    from modpm.core.training.session import Progress

DIGITS = list("0123456789")
SHORT: dict[str, Any] = {"epochs": 1, "batch_size": 64, "val_fraction": 0.8, "lr": 0.1}
QUICK: dict[str, Any] = {"calibration": "platt", "measure_on": "held-out"}


def digits(split: str) -> tuple[Tensor, Tensor]:
    data = load_data("digits", split)
    return data.images, data.labels


def network() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return create("digits_cnn", 10, 1, 0.5)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Run, nn.Module]:
    """Return a run of names, and one of what they name, in memory, and the network of that."""
    folder, live = tmp_path_factory.mktemp("runs"), network()
    by_name = train("digits", "digits_cnn", width=0.5, output=folder / "named", **SHORT)
    splits: dict[str, Any] = {"train": digits("train"), "test": TensorDataset(*digits("test"))}
    train(splits, live, classes=DIGITS, output=folder / "given", **SHORT)
    (folder / "given").rename(folder / "moved")
    return by_name, Run.open(folder / "moved"), live


def test_it_is_the_run_of_their_names(trained: tuple[Run, Run, nn.Module]) -> None:
    by_name, given, _ = trained

    for name in ("model.safetensors", "findings.safetensors", "graph.json", "images.safetensors"):
        assert (given.folder / name).read_bytes() == (by_name.folder / name).read_bytes(), name
    assert given.fingerprint == by_name.fingerprint
    assert given.config.arch == "DigitsCNN"


def test_a_network_in_memory_stays_as_it_is(trained: tuple[Run, Run, nn.Module]) -> None:
    live, before = trained[2], network().state_dict()

    assert live.training
    assert all(torch.equal(x, before[name]) for name, x in live.state_dict().items())


def test_a_run_keeps_its_images_wherever_it_goes(trained: tuple[Run, Run, nn.Module]) -> None:
    by_name, given, _ = trained

    assert torch.equal(given.training_data().images, by_name.training_data().images)
    assert torch.equal(given.data("test").images, by_name.data("test").images)


def test_it_is_cut_as_the_run_of_their_names(
    trained: tuple[Run, Run, nn.Module], tmp_path: Path
) -> None:
    by_name, given, _ = trained

    one = modpm.modularize(by_name, output=tmp_path / "named", **QUICK)
    other = modpm.modularize(given, namespace="digits", output=tmp_path / "given", **QUICK)

    for one_release, other_release in zip(one.distributions, other.distributions, strict=True):
        named, kept = one_release.manifest, other_release.manifest
        assert isinstance(named, Manifest)
        assert isinstance(kept, Manifest)
        assert kept.metrics == named.metrics
        assert kept.provenance.data_set == "data"
    for digit in DIGITS:
        tensors = [tmp_path / name / digit / "module.safetensors" for name in ("named", "given")]
        assert tensors[0].read_bytes() == tensors[1].read_bytes()


def test_a_live_network_is_cut_on_images_in_memory_as_on_named_ones(tmp_path: Path) -> None:
    live = network()
    said: dict[str, Any] = QUICK | {"mean": [0.3], "std": [0.4]}
    loader = torch.utils.data.DataLoader(TensorDataset(*digits("train")), batch_size=100)

    modpm.modularize(live, data="digits", output=tmp_path / "named", **said)
    modpm.modularize(live, data=loader, classes=DIGITS, output=tmp_path / "given", **said)

    for digit in DIGITS:
        tensors = [tmp_path / name / digit / "module.safetensors" for name in ("named", "given")]
        assert tensors[0].read_bytes() == tensors[1].read_bytes()


def test_images_in_memory_are_judged_as_named_ones(trained: tuple[Run, Run, nn.Module]) -> None:
    by_name, given, _ = trained

    one = modpm.evaluate(by_name.folder, "digits")
    other = modpm.evaluate(given.folder, digits("test"), classes=DIGITS)
    kept = modpm.evaluate(given.folder, given.source)

    assert one.confusion == other.confusion == kept.confusion
    assert (one.n_trained_on, other.n_trained_on) == (0, 0)


def test_who_trained_a_network_in_memory_is_not_told_a_command(
    trained: tuple[Run, Run, nn.Module], tmp_path: Path
) -> None:
    given = command_to_train(trained[1], Particulars(), tmp_path / "dist", None)
    images = as_data(digits("train"), DIGITS)
    assert isinstance(images, GivenImages)
    weights = command_to_train("w.pth", Particulars(data=images), tmp_path / "dist", None)

    assert "`modpm.train` again, of the DigitsCNN in memory" in given
    assert "./data" not in weights


class StoppedError(Exception):
    """Somebody ends the process."""


def test_a_run_is_resumed_without_its_network_and_with_the_same_images(tmp_path: Path) -> None:
    def stop(progress: Progress) -> None:
        if progress.epoch == 2:
            raise StoppedError

    settings = SHORT | {"epochs": 3, "output": tmp_path / "run"}
    images, labels = digits("train")
    with pytest.raises(StoppedError):
        train((images, labels), network(), classes=DIGITS, progress=stop, **settings)
    with pytest.raises(ModpmError) as caught:
        train((images.flip(0), labels), classes=DIGITS, resume=True, **settings)
    assert caught.value.code == "data-changed"

    resumed = train(tmp_path / "run" / "data", resume=True, **settings)

    whole = train(
        (images, labels),
        network(),
        classes=DIGITS,
        **settings | {"output": tmp_path / "whole"},
    )
    assert resumed.digest() == whole.digest()


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"width": 0.5}, "bad-setting"),
        ({"init": "weights.safetensors"}, "bad-setting"),
        ({"data": "digits"}, "bad-setting"),
        ({"classes": None}, "bad-class-names"),
        ({"classes": list("012345678")}, "bad-labels"),
        ({"classes": list("0123456789a")}, "too-few-images"),
        ({"arch": torch.nn.Flatten()}, "outputs-mismatch"),
    ],
)
def test_what_does_not_fit_is_refused_before_training(
    wrong: dict[str, Any], code: str, tmp_path: Path
) -> None:
    given: dict[str, Any] = {"data": digits("train"), "arch": network(), "classes": DIGITS}

    with pytest.raises(ModpmError) as caught:
        train(output=tmp_path / "run", **given | wrong)

    assert caught.value.code == code
    assert not (tmp_path / "run").exists()
