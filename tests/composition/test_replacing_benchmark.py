"""The benchmark of replacing one class of a weak network, on outputs that are made up."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

if TYPE_CHECKING:
    from types import ModuleType

N_CLASSES = 3


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    return import_module("composition")


def outputs_of(benchmark: ModuleType, per_class: int = 40) -> Any:  # noqa: ANN401 -- of a script
    """Return outputs of a network that never gives class 0, and of one that knows all."""
    truth = torch.arange(N_CLASSES * per_class) % N_CLASSES
    strong = 6.0 * torch.nn.functional.one_hot(truth, N_CLASSES) - 3
    strong += 0.1 * torch.randn(strong.shape, generator=torch.Generator().manual_seed(0))
    weak = strong.clone()
    weak[:, 0] -= 100
    return benchmark.Outputs(weak, strong, weak, strong, truth)


def test_a_draw_has_so_many_images_of_each_class_and_the_rest_has_the_others(
    benchmark: ModuleType,
) -> None:
    truth = outputs_of(benchmark).truth
    every = list(benchmark.draws(truth, 5, 3))
    for drawn, rest in every:
        assert truth[drawn].bincount().tolist() == [5] * N_CLASSES
        assert sorted([*drawn.tolist(), *rest.tolist()]) == list(range(len(truth)))
    assert every[0][0].tolist() != every[1][0].tolist()


@pytest.mark.parametrize("protocol", ["min-max", "linear", "log-odds"])
def test_each_protocol_gives_the_class_that_the_network_never_gave(
    benchmark: ModuleType, protocol: str
) -> None:
    change = benchmark.measure(protocol, outputs_of(benchmark), 5, 2)
    assert change.before[:, 0].tolist() == [0.0, 0.0]
    assert change.after[:, 0].tolist() == [[100.0] * N_CLASSES] * 2
    assert change.row().startswith("66.7 -> 100.0 | +0.0 | 1 of 3 | ")


def test_a_row_says_what_each_class_gained_and_what_others_lost(benchmark: ModuleType) -> None:
    before = torch.tensor([[50.0, 80.0]] * 2)
    after = torch.tensor([[[70.0, 78.0], [50.0, 90.0]], [[80.0, 78.0], [50.0, 90.0]]])
    row = benchmark.Change(before, after).row().split(" | ")
    assert row[:6] == ["65.0 -> 82.5", "+10.0", "2 of 2", "-2.0", "-1.00", "65.0 -> 73.2"]
    assert row[6].startswith("+15.0, +20.0")
