"""`modpm modularize` as a user runs it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from tests.modularizing.small_run import train_small

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Run

    from modpm.core.training.run import Run as TrainingRun


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> TrainingRun:
    """Return a finished modular run."""
    return train_small(tmp_path_factory.mktemp("runs") / "run", epochs=4)


def test_modularize_prints_json_and_nothing_else_on_stdout(
    run: Run, trained: TrainingRun, here: Path
) -> None:
    outcome = run("modularize", trained.folder, "-o", "dist", "--json")
    assert (outcome.code, outcome.err) == (0, "")
    record = json.loads(outcome.out)
    assert [module["name"] for module in record["modules"]] == [f"digits/{i}" for i in range(10)]
    assert [module["path"] for module in record["modules"]] == [f"dist/{i}" for i in range(10)]
    assert all((here / module["path"] / "manifest.json").is_file() for module in record["modules"])
    assert record["threshold"] == 0.9
    assert record["origin"]["digest"] == trained.digest()
    assert record["curve"] == []
    assert record["costs"] == json.loads((here / "dist" / "costs.json").read_bytes())


def test_modularize_prints_a_table_and_where_it_is(run: Run, trained: TrainingRun) -> None:
    outcome = run(
        "modularize", trained.folder, "-o", "dist", "--namespace", "numbers", "--version", "2.1",
        "--calibration", "platt", "--measure-on", "held-out",
    )  # fmt: skip
    assert outcome.code == 0
    header, *rows = outcome.out.splitlines()
    assert header.split()[:2] == ["module", "version"]
    assert [row.split()[:2] for row in rows] == [[f"numbers/{i}", "2.1"] for i in range(10)]
    assert outcome.err.startswith("10 class modules in dist: threshold 0.9: ")
    told = outcome.err.splitlines()[1:]
    assert [line.split(" took ")[0].split(" takes ")[0] for line in told[:3]] == [
        "making the modules",
        "composing all 10",
        "training a network of the same classes anew",
    ]
    assert told[3].startswith("energy is an estimate, by ")


def test_modularize_shows_the_trade_off_curve_of_an_automatic_threshold(
    run: Run, trained: TrainingRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modpm.core.training.evidence.THRESHOLDS", (0.6, 0.9))
    outcome = run(
        "modularize",
        trained.folder,
        "--threshold",
        "auto",
        "--budget",
        "100",
        "-o",
        "dist",
        "--calibration",
        "platt",
        "--measure-on",
        "held-out",
    )
    assert outcome.code == 0
    header, *rows = outcome.out.split("\n\n")[0].splitlines()
    assert header.split()[0] == "cutoff"
    assert [row.split()[1] for row in rows] == ["0.6", "0.9"]
    assert [row.endswith("yes") for row in rows].count(True) == 1


def test_modularize_refuses_what_is_no_run(run: Run) -> None:
    outcome = run("modularize", "nothing", "-o", "dist")
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err.startswith("error: there is no run\n  at: nothing\n")


def test_modularize_refuses_a_threshold_that_is_none(run: Run, trained: TrainingRun) -> None:
    outcome = run("modularize", trained.folder, "--threshold", "2", "-o", "dist", "--json")
    assert outcome.code == 2
    assert json.loads(outcome.out)["error"]["code"] == "invalid-threshold"


def test_the_help_of_modularize_has_an_example(run: Run) -> None:
    outcome = run("modularize", "--help")
    assert outcome.code == 0
    assert "Example: modpm modularize" in outcome.out
