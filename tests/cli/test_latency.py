"""Latency is estimated before anything is downloaded, and what was measured goes before that."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from tests.estimating.machines import made_up

from modpm.core.costs import machine as measuring
from modpm.core.estimating.machine import keep_machine, kept_machine, machine_path
from modpm.core.estimating.work import works
from modpm.core.formats.distribution import read_distribution

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Run


@pytest.fixture
def quick_measuring(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a machine be measured at once."""
    monkeypatch.setattr(measuring, "measure_rates", lambda: made_up(start=2e-3).rates)


def latency(run: Run, *arguments: str | Path) -> tuple[list[float], set[bool]]:
    outcome = run("info", *arguments, "--latency", "--json")
    assert outcome.code == 0, outcome
    estimates = json.loads(outcome.out)["latency"]["estimates"]
    assert [one["batch_size"] for one in estimates] == [1, 64]
    return [one["milliseconds"] for one in estimates], {one["is_measured"] for one in estimates}


def test_latency_is_estimated_by_the_graph_of_the_manifest(
    run: Run, registry: Path, dist: Path
) -> None:
    keep_machine(made_up(start=1e-3))
    graph = read_distribution(dist / "7-1.0.0").module_manifest.graph
    n_steps = len(works(graph, 1)) + 1
    for arguments in (["digits/7==1.0.0", "--registry", registry], [dist / "7-1.0.0"]):
        milliseconds, is_measured = latency(run, *arguments)
        assert milliseconds == pytest.approx([n_steps, n_steps / 64])
        assert is_measured == {False}
    outcome = run("info", "digits/7", "--registry", registry, "--latency")
    assert f"{n_steps} ms an image at batch 1, " in outcome.out
    assert "(estimated, for 1 thread of " in outcome.out
    assert outcome.err == ""


def test_nothing_is_estimated_unasked(run: Run, registry: Path) -> None:
    outcome = run("info", "digits/7", "--registry", registry, "--json")
    assert "latency" not in json.loads(outcome.out)


@pytest.mark.usefixtures("quick_measuring")
def test_the_machine_is_measured_at_first_use_and_that_is_said(run: Run, registry: Path) -> None:
    first = run("info", "digits/7", "--registry", registry, "--latency")
    assert "measuring this machine, for less than a minute: this machine was not" in first.err
    assert f"kept in {machine_path()}" in first.err
    again = run("info", "digits/7", "--registry", registry, "--latency")
    assert (again.out, again.err) == (first.out, "")


@pytest.mark.usefixtures("quick_measuring")
def test_a_damaged_file_is_measured_anew_and_that_is_said(run: Run, registry: Path) -> None:
    keep_machine(made_up())
    machine_path().write_bytes(b"{")
    outcome = run("info", "digits/7", "--registry", registry, "--latency")
    assert outcome.code == 0
    assert "its file is damaged" in outcome.err
    assert kept_machine().rates == made_up(start=2e-3).rates


@pytest.mark.usefixtures("quick_measuring")
def test_the_machine_is_measured_anew_when_asked_for(run: Run) -> None:
    keep_machine(made_up())
    outcome = run("benchmark", "--machine")
    assert outcome.code == 0
    assert outcome.out.startswith("measured: ")
    assert kept_machine().rates == made_up(start=2e-3).rates
    data = json.loads(run("benchmark", "--machine", "--json").out)
    assert data["rates"].keys() == {"1", "64"}


@pytest.mark.parametrize("arguments", [[], ["digits/7", "--machine"]])
def test_either_a_classifier_or_the_machine_is_timed(run: Run, arguments: list[str]) -> None:
    outcome = run("benchmark", *arguments)
    assert outcome.code == 2
    assert "name either COMPOSITION or '--machine'" in outcome.err


def test_what_was_benchmarked_is_told_instead_of_an_estimate(run: Run, dist: Path) -> None:
    before = run("benchmark", dist / "7-1.0.0", "-n", "2", "--device", "cpu")
    assert "estimates of the latency" not in before.err  # of which machine?
    keep_machine(made_up())
    data = json.loads(
        run("benchmark", dist / "7-1.0.0", "-n", "2", "--device", "cpu", "--json").out
    )
    assert data["is_kept"]
    found, is_measured = latency(run, dist / "8-1.0.0")  # another release of the same network
    assert found == pytest.approx([one["milliseconds"]["median"] for one in data["latencies"]])
    assert is_measured == {True}
    assert "(measured here, for 1 thread of " in run("info", dist / "7-1.0.0", "--latency").out


def test_without_torch_it_is_said_what_is_missing(
    run: Run, registry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    outcome = run("info", "digits/7", "--registry", registry, "--latency")
    assert outcome.code == 1
    assert "error: this machine cannot be measured" in outcome.err
    assert "torch, which runs networks, cannot be used" in outcome.err
