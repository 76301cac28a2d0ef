from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor, nn

import modpm
from modpm.core.checking import Limit
from modpm.core.errors import ModpmError
from modpm.core.networks import create

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Run


class Dense(nn.Module):
    """Each block reads all blocks before it, so that a module's nodes grow with their square."""

    def __init__(self, n_blocks: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.blocks = nn.ModuleList(nn.Conv2d(8 * (i + 1), 8, 1) for i in range(n_blocks))
        self.head = nn.Linear(8 * (n_blocks + 1), 10)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        for block in self.blocks:
            x = torch.cat([x, torch.relu(block(x))], 1)
        return self.head(x.mean((2, 3)))  # type: ignore[no-any-return]  # torch has no type for it


def test_check_lists_what_can_be_cut_and_what_it_costs(run: Run) -> None:
    outcome = run("check", "small_vgg", "--width", "0.25", "--json")
    shown = run("check", "small_vgg", "--width", "0.25")

    assert (outcome.code, outcome.err) == (0, "")
    found = json.loads(outcome.out)
    assert found["image_shape"] == [3, 32, 32]
    assert [layer["is_cut"] for layer in found["layers"]][:2] == [False, True]
    assert found["module"]["macs"] < found["network"]["macs"]
    assert found["module"]["n_parameters"] < found["network"]["n_parameters"]
    assert found["fits"]
    assert shown.code == 0
    for layer in found["layers"]:
        assert layer["name"] in shown.out
    assert f"{found['network']['macs']:,} multiply-accumulates" in shown.out


def test_check_costs_are_those_that_torch_counts() -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 6, 3), nn.Flatten(), nn.Linear(6 * 16, 2)
    )

    found = modpm.check(network, 8, n_classes=2, retention=1.0)

    assert found.cost.n_parameters == sum(p.numel() for p in network.parameters())
    assert found.cost.macs == 36 * 4 * 27 + 16 * 6 * 36 + 96 * 2
    assert found.module_cost.macs == found.cost.macs - 96  # one of two outputs


def test_check_says_of_a_network_beyond_a_limit_which(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modpm.core.checking.LARGEST_GRAPH", 12)

    outcome = run("check", "small_vgg", "--width", "0.25")

    assert outcome.code == 1
    assert "warning: nodes of the network: " in outcome.err
    assert "are more than 12" in outcome.err


def test_the_nodes_of_a_module_of_a_dense_network_are_counted() -> None:
    small, large = (modpm.check(Dense(n), 8, n_classes=10) for n in (2, 8))

    nodes = [
        limit.found
        for found in (small, large)
        for limit in found.limits
        if limit.what == "nodes of a module"
    ]
    assert nodes[1] > nodes[0]
    assert all(found.fits for found in (small, large))
    assert Limit("nodes of a module", nodes[1], 10_000) in large.limits


def test_a_network_of_which_nothing_can_be_cut_is_told() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 36, 2))

    with pytest.raises(ModpmError) as caught:
        modpm.check(network, 8, n_classes=2)

    assert caught.value.code == "nothing-to-modularize"


@pytest.mark.parametrize("option", ["--image-size=0", "--classes=0", "--retention=2"])
def test_check_refuses_settings_out_of_range(option: str, run: Run) -> None:
    assert run("check", "small_vgg", option).code == 2


def test_check_says_that_weights_of_other_classes_get_a_new_head(run: Run, tmp_path: Path) -> None:
    weights = tmp_path / "w.pth"
    torch.save({"state_dict": create("small_vgg", 7, width=0.25).state_dict()}, weights)
    outcome = run("check", "small_vgg", "--width", "0.25", "--init", weights, "--classes", "3")
    assert outcome.code == 0
    assert outcome.err == (
        f"{weights}: its weights are of 7 classes; the last layer is new, for 3 classes\n"
    )
    refused = run("check", "small_vgg", "--init", weights, "--classes", "3")
    assert refused.code == 1
    assert "of another network" in refused.err


def test_check_leaves_a_network_that_weights_are_for_as_it_was(tmp_path: Path) -> None:
    network, other = (create("small_vgg", 3, width=0.25) for _ in range(2))
    torch.save(other.state_dict(), tmp_path / "w.pth")
    before = network.state_dict()["features.0.weight"].clone()
    modpm.check(network, n_classes=3, init=tmp_path / "w.pth")
    assert torch.equal(network.state_dict()["features.0.weight"], before)


def test_check_refuses_trained_weights_that_there_are_none_of(run: Run) -> None:
    outcome = run("check", "small_vgg", "--pretrained")
    assert outcome.code == 2
    assert "no trained weights of its own" in outcome.err


class Spectrum(nn.Module):
    """Calls what no graph has."""

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = torch.fft.fft2(x).real.mean((2, 3))
        return logits


def test_a_refused_operator_is_not_among_those_that_its_hint_lists(run: Run) -> None:
    with pytest.raises(ModpmError, match="fft_fft2") as caught:
        modpm.check(Spectrum(), 8, n_classes=3)
    assert "modpm check --operators" in (caught.value.hint or "")

    listed = run("check", "--operators")

    assert (listed.code, listed.err) == (0, "")
    names = listed.out.split()
    assert {"conv2d", "batch_norm", "cat"} <= set(names)
    assert "fft_fft2" not in names
