"""What was measured of a machine is kept for its user, and counts for that machine alone."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from typing import TYPE_CHECKING

import msgspec
import pytest
from tests.estimating.machines import made_up

from modpm.core.errors import ModpmError
from modpm.core.estimating import machine as kept
from modpm.core.estimating.machine import (
    estimate,
    keep_machine,
    kept_machine,
    machine_path,
    this_host,
    with_measured,
)
from modpm.core.estimating.rates import Rate
from modpm.core.formats.network_graph import Graph, Node

if TYPE_CHECKING:
    from pathlib import Path

NODES = [Node("relu0", "relu", ("image",))]
NODES += [Node(f"relu{i}", "relu", (f"relu{i - 1}",)) for i in range(1, 8)]
GRAPH = Graph("image", (3, 8, 8), tuple(NODES), "relu7")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MODPM_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    return tmp_path / "home"


def refusal() -> str:
    with pytest.raises(ModpmError) as caught:
        kept_machine()
    assert caught.value.code == "not-measured"
    return str(caught.value.why)


def test_what_is_kept_is_read_again(home: Path) -> None:
    machine = with_measured(made_up(), [GRAPH], {1: 0.25, 64: 0.125})
    keep_machine(machine)
    assert kept_machine() == machine
    assert machine_path() == home / "machine.json"


def test_a_machine_that_was_not_measured_is_no_other() -> None:
    assert refusal() == "this machine was not measured yet"


@pytest.mark.parametrize("field", ["processor", "torch"])
def test_another_machine_does_not_count(field: str) -> None:
    machine = made_up()
    other = msgspec.structs.replace(machine.host, **{field: "another"})
    keep_machine(msgspec.structs.replace(machine, host=other))
    assert f"{field}: another then, {getattr(machine.host, field)} now" in refusal()


def test_another_number_of_threads_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    keep_machine(made_up())
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert "threads: None then, 7 now" in refusal()


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b'{"format_version":1}', b"\xff", b'{"rates":' * 100]
)
def test_a_damaged_file_is_not_used(data: bytes) -> None:
    keep_machine(made_up())
    machine_path().write_bytes(data)
    assert refusal().startswith("its file is damaged: ")


@pytest.mark.parametrize(
    "rate",
    [
        Rate(seconds=[]),
        Rate(seconds=[1.0, 1.0, 1.0, 1.0, -1.0]),
        Rate(seconds=[1.0] * 5, inputs=0),
        None,
    ],
    ids=["short", "negative", "multiples of nothing", "absent"],
)
def test_rates_that_are_none_are_a_damage(rate: Rate | None) -> None:
    machine = made_up()
    of_one = {**machine.rates["1"]}
    del of_one["dense"]
    if rate is not None:
        of_one["dense"] = rate
    keep_machine(msgspec.structs.replace(machine, rates={**machine.rates, "1": of_one}))
    assert "rates.1.dense" in refusal() or "damaged" in refusal()


def test_without_torch_nothing_can_be_estimated(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> str:
        raise PackageNotFoundError(name)

    keep_machine(made_up())
    monkeypatch.setattr(kept, "version", absent)
    with pytest.raises(ModpmError, match="cannot be estimated") as caught:
        kept_machine()
    assert (caught.value.code, caught.value.why) == (
        "not-measured", "torch, which runs and times networks, is not installed",
    )  # fmt: skip


def test_an_estimate_adds_all_steps_and_is_told_an_image() -> None:
    estimates = estimate([GRAPH, GRAPH], made_up(start=1e-3))
    n_steps = 1 + 2 * (1 + len(NODES))  # what is done with images, passes, and layers
    assert [(one.batch_size, one.is_measured) for one in estimates] == [(1, False), (64, False)]
    assert estimates[0].seconds == pytest.approx(n_steps * 1e-3)
    assert estimates[1].seconds == pytest.approx(n_steps * 1e-3 / 64)


def test_what_was_measured_goes_before_estimates_of_the_same_networks() -> None:
    machine = with_measured(made_up(), [GRAPH], {1: 0.25, 64: 0.125})
    assert [(one.seconds, one.is_measured) for one in estimate([GRAPH], machine)] == [
        (0.25, True),
        (0.125, True),
    ]
    assert not any(one.is_measured for one in estimate([GRAPH, GRAPH], machine))


def test_of_very_many_measured_classifiers_the_last_are_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kept, "MOST_MEASURED", 3)
    machine = made_up()
    graphs = [msgspec.structs.replace(GRAPH, input_shape=(3, 8, i)) for i in range(1, 6)]
    for graph in graphs:
        machine = with_measured(machine, [graph], {1: 1.0, 64: 1.0})
    known = [estimate([graph], machine)[0].is_measured for graph in graphs]
    assert known == [False, False, True, True, True]


def test_estimating_needs_no_torch() -> None:
    keep_machine(made_up())
    program = """
import sys
from tests.estimating.test_machine import GRAPH
from modpm.core.estimating.machine import estimate, kept_machine
from modpm.verbs.estimating import estimate_latency
estimate([GRAPH], kept_machine())
sys.exit("torch" in sys.modules)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment)


def test_the_host_is_told() -> None:
    host = this_host()
    assert host.processor
    assert host.n_processors >= 1
