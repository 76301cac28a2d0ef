"""The benchmark that puts every way to make class modules in one table."""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import modpm

if TYPE_CHECKING:
    from types import ModuleType

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
WAYS = "plain,random,mwt contrastive at 0.9"


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    methods = import_module("methods")
    monkeypatch.setattr(import_module("cifar10"), "N_SUBSETS", 1)
    return methods


def run_benchmark(
    benchmark: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    output: Path,
    *words: str,
) -> str:
    asked = ["--data", "digits", "--archs", "digits_cnn", "--width", "0.25", "--epochs", "1"]
    asked += ["--device", "cpu", "--retention", "0.6", "-o", str(output), *words]
    monkeypatch.setattr(sys, "argv", ["methods.py", *asked])
    benchmark.main()
    return capsys.readouterr().out


def refused(*_: Any, **__: Any) -> None:  # noqa: ANN401 -- whatever it is called with
    raise AssertionError("what was done is done again")


@pytest.mark.slow
def test_rows_are_measured_once_and_printed_with_what_papers_report(
    benchmark: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    first = run_benchmark(benchmark, monkeypatch, capsys, tmp_path, "--ways", WAYS)
    table = [line for line in first.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in table}) == 1
    assert [line.split(" | ")[0] for line in table[2:]] == [f"| {w}" for w in WAYS.split(",")]
    of_plain, of_random, of_nemo = (
        [cell.strip() for cell in line.split("|")] for line in table[2:]
    )
    assert (of_plain[2], of_plain[6]) == ("1.000", "")
    assert of_random[6].count("/") == of_nemo[7].count("/") == 3
    assert float(of_random[2]) <= 0.6
    assert (of_random[-2], of_nemo[-2]) == ("", "arXiv 2508.11348")
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {
        "digits_cnn-plain-seed0",
        "digits_cnn-mwt-alpha0-beta0-contrastive1.1-seed0",
    }
    kept = json.loads((tmp_path / "rows" / "digits_cnn-random-seed0.json").read_text())
    assert kept["seconds"]["cutting"] > 0
    assert set(kept["accuracy"]) == {"network", "fused", "independent"}

    monkeypatch.setattr(modpm, "train", refused)
    monkeypatch.setattr(modpm, "modularize", refused)
    printed = first[first.index("\ndigits_cnn: accuracy") :]
    assert run_benchmark(benchmark, monkeypatch, capsys, tmp_path, "--ways", WAYS) == printed
    assert run_benchmark(benchmark, monkeypatch, capsys, tmp_path, "--print") == printed
    with pytest.raises(SystemExit, match=r"--width 0\.25, not 0\.5"):
        run_benchmark(benchmark, monkeypatch, capsys, tmp_path, "--width", "0.5")


def test_a_way_that_there_is_not_is_refused(
    benchmark: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    with pytest.raises(SystemExit):
        run_benchmark(benchmark, monkeypatch, capsys, tmp_path, "--ways", "plain,magic")
    assert "'magic' is none of plain, random, " in capsys.readouterr().err
