"""The network that a run starts from, and what is kept of it for the next start."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import torch

from modpm.core import kept_images
from modpm.core.formats.manifest import InputContract
from modpm.core.training import starting_network as module
from modpm.core.training.configuration import TrainingConfiguration

if TYPE_CHECKING:
    from pathlib import Path

    from modpm.core.training.methods.method import Network

CONTRACT = InputContract(channels=1, height=8, width=8, mean=[0.5], std=[0.25])


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MODPM_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def started(arch: str = "digits_cnn", seed: int = 0, n_classes: int = 10) -> Network:
    configuration = TrainingConfiguration(
        data="digits",
        arch=arch,
        epochs=1,
        lr=0.1,
        batch_size=32,
        seed=seed,
        val_fraction=0.1,
        method="plain",
        settings={},
        precision="float32",
        skip_bad=False,
    )
    network = module.starting_network(configuration, n_classes, CONTRACT)
    return network.graph, network.state_dict()


def refuse_to_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: object) -> None:
        pytest.fail("a network is traced")

    monkeypatch.setattr(module, "read_network", fail)


def assert_alike(one: Network, other: Network) -> None:
    assert one[0] == other[0]
    assert list(one[1]) == list(other[1])
    assert all(torch.equal(x, other[1][name]) for name, x in one[1].items())


@pytest.mark.parametrize("arch", ["digits_cnn", "resnet20"])
def test_graph_of_a_shipped_network_is_traced_once(
    arch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, other_seed = started(arch), started(arch, seed=1)
    assert any(not torch.equal(x, other_seed[1][name]) for name, x in first[1].items())
    refuse_to_trace(monkeypatch)
    assert_alike(first, started(arch))
    assert_alike(other_seed, started(arch, seed=1))


def test_graph_for_other_shapes_is_another(monkeypatch: pytest.MonkeyPatch) -> None:
    started()
    refuse_to_trace(monkeypatch)
    with pytest.raises(pytest.fail.Exception, match="is traced"):
        started(n_classes=3)


@pytest.mark.parametrize("damage", [b"", b"{}", b"[1", b"\xff"])
def test_damaged_graph_is_traced_again(damage: bytes) -> None:
    first = started()
    (path,) = kept_images.folder().glob("*.graph")
    path.write_bytes(damage)
    assert_alike(first, started())
    assert path.read_bytes() != damage


@pytest.mark.parametrize("other", [b'"tanh"', b'"nonsense"'])
def test_graph_that_is_another_is_traced_again(other: bytes) -> None:
    first = started()
    (path,) = kept_images.folder().glob("*.graph")
    whole = path.read_bytes()
    assert b'"relu"' in whole
    path.write_bytes(whole.replace(b'"relu"', other))
    assert_alike(first, started())


def test_network_of_a_user_is_traced_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    own = "modpm.core.networks.digits:DigitsCNN"
    started(own)
    assert not list(kept_images.folder().glob("*.graph"))
    refuse_to_trace(monkeypatch)
    with pytest.raises(pytest.fail.Exception, match="is traced"):
        started(own)


def test_home_that_cannot_be_written_to_is_done_without(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = started()
    (home.parent / "file").write_bytes(b"")
    monkeypatch.setenv("MODPM_HOME", str(home.parent / "file"))
    assert_alike(expected, started())


def test_the_compiler_is_not_imported_before_the_first_step_of_a_second_start(
    tmp_path: Path,
) -> None:
    started()
    code = f"""
import os, sys, modpm
def stop(_progress):
    print("torch._dynamo" in sys.modules, flush=True)
    os._exit(0)
modpm.train("digits", "digits_cnn", output={str(tmp_path / "run")!r}, epochs=1, device="cpu",
            method="plain", progress=stop)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
