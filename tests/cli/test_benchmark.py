"""`modpm benchmark`: how long a classifier takes here, beside what its modules were cut from."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
import torch
from tests.composition.tiny_origins import publish, tiny_origin
from tests.composition.tiny_projects import make_project, run

from modpm.core.classifiers.classifier import Classifier
from modpm.core.costs.latency import quartiles, ratios, seconds_in_turns, untrained
from modpm.core.graph import build
from modpm.core.graph.cost import count_macs

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of a project, of its classifier, and of a distribution."""
    folder = tmp_path_factory.mktemp("benchmark")
    project = make_project(folder)
    run("compose", "tiny/cat", "tiny/dog", "--project", project, "-o", folder / "clf")
    return folder


def test_a_classifier_is_timed_in_turns_with_its_origin(place: Path) -> None:
    project = place / "project"
    found = run("benchmark", place / "clf", "-n", "5", "--project", project, "--json").data
    classifier, origin = Classifier.from_folder(place / "clf"), tiny_origin()
    assert (found["n"], found["device"], found["missing"]) == (5, "cpu", [])
    assert (found["macs"], found["origin_macs"]) == (classifier.macs, count_macs(origin.graph))
    assert found["torch"] == torch.__version__
    assert [one["batch_size"] for one in found["latencies"]] == [1, 64]
    for one in found["latencies"]:
        for what in ("milliseconds", "origin_milliseconds", "ratio"):
            assert 0 < one[what]["low"] <= one[what]["median"] <= one[what]["high"]


def test_times_are_shown_with_what_they_lie_between(place: Path) -> None:
    outcome = run("benchmark", "tiny/cat", "-n", "3", "--project", place / "project")
    assert outcome.code == 0
    head, *rows = outcome.stdout.splitlines()
    assert head.split()[:4] == ["batch", "ms", "an", "image"]
    assert [row.split()[0] for row in rows] == ["1", "64"]
    assert all(row.count(" to ") == 3 for row in rows)
    assert outcome.stderr.startswith("3 runs each in turns, on cpu with ")
    assert "times those of the origin" in outcome.stderr


def test_an_origin_that_is_not_known_is_asked_for_and_may_be_named(
    place: Path, tmp_path: Path
) -> None:
    digest = tiny_origin().module("cat").manifest.origin.digest
    alone = run("benchmark", place / "clf", "-n", "2", "--project", tmp_path)
    assert f"{digest[:19]} is not known here: name it by --origin" in alone.stderr
    assert alone.stdout.splitlines()[1].split()[-2:] == ["-", "-"]
    shown = run(
        "benchmark", place / "clf", "-n", "2", "--project", tmp_path, "--json",
        "--origin", place / "dist" / "tiny.cat",
    ).data  # fmt: skip
    assert shown["origin_macs"] == count_macs(tiny_origin().graph)


def test_a_composition_without_one_of_its_origins_is_compared_with_none(
    place: Path, tmp_path: Path
) -> None:
    project = place / "project"
    run("compose", "tiny/cat", "tiny5/cat", "--alias", "tiny5/cat=other",
        "--project", project, "-o", tmp_path / "two")  # fmt: skip
    both = run("benchmark", tmp_path / "two", "-n", "2", "--project", project, "--json").data
    assert both["origin_macs"] == 2 * count_macs(tiny_origin().graph)
    shutil.copytree(project, tmp_path / "project", symlinks=True)
    assert run("remove", "tiny5/cat", "--project", tmp_path / "project").code == 0
    one = run(
        "benchmark", tmp_path / "two", "-n", "2", "--project", tmp_path / "project", "--json"
    ).data
    assert one["missing"] == [tiny_origin(5).module("cat").manifest.origin.digest]
    assert one["origin_macs"] is None
    assert one["latencies"][0]["ratio"] is None


@pytest.mark.parametrize(
    ("arguments", "code"), [(("-n", "1"), "bad-setting"), (("--device", "mps"), "no-such-device")]
)
def test_what_cannot_be_timed_is_refused(
    place: Path, arguments: tuple[str, ...], code: str
) -> None:
    outcome = run("benchmark", place / "clf", *arguments, "--json")
    assert (outcome.code, outcome.data["error"]["code"]) == (2, code)


def test_jobs_take_turns_in_both_orders() -> None:
    calls: list[str] = []
    ticks = iter(range(1000))
    jobs = [lambda: calls.append("a"), lambda: calls.append("b")]
    found = seconds_in_turns(jobs, 4, clock=lambda: float(next(ticks)))
    assert calls == [*"baab" * 3, *"ba"]
    assert found == [[1.0] * 4, [1.0] * 4]
    assert quartiles([1, 2, 3, 4, 5]) == (2, 3, 4)
    assert ratios([1, 2, 3], [2, 2, 2]) == (0.75, 1.0, 1.25)


def test_an_origin_with_numbers_of_chance_computes_finite_ones(tmp_path: Path) -> None:
    origin = tiny_origin()
    made = untrained(origin.graph, origin.module("cat").manifest.input)
    scores = made(torch.rand(3, 3, 8, 8))
    assert scores.isfinite().all()
    assert scores.shape == build(origin.graph, origin.tensors)(torch.rand(3, 3, 8, 8)).shape
    assert publish(origin.module("cat"), tmp_path / "dist").is_dir()
