"""`modpm doctor`: what works here, and what does not."""

from __future__ import annotations

import json
import socket
import sys
from typing import TYPE_CHECKING, Any

import torch

import modpm
from modpm.verbs import doctor as doctors

if TYPE_CHECKING:
    from pathlib import Path

    import pytest
    from tests.cli.conftest import Run


def by_name(out: str) -> dict[str, Any]:
    return {one["name"].split(" (")[0]: one for one in json.loads(out)}


def test_doctor_tells_all_that_a_project_needs(run: Run, here: Path, dist: Path) -> None:
    assert run("publish", dist, "--registry", here / "registry").code == 0
    outcome = run("doctor", "--registry", here / "registry", "--json")
    assert (outcome.code, outcome.err) == (0, "")
    found = by_name(outcome.out)
    assert found["modpm"]["what"].startswith(f"{modpm.__version__}, Python {sys.version_info[0]}.")
    assert {*doctors.EXTRAS} < found.keys()
    assert f"torch {torch.__version__}" in found["cpu"]["what"]
    assert found["registry"]["what"].startswith("answers, in ")
    assert str(here) in found["project"]["what"]
    assert not any(one["is_problem"] for one in found.values())
    assert [*here.iterdir()] == [here / "registry"]  # nothing was left


def test_what_was_found_is_shown_as_a_table(run: Run, here: Path) -> None:
    outcome = run("doctor")
    assert outcome.code == 0
    head, *rows = outcome.out.splitlines()
    assert head.split() == ["about", "which", "found"]
    assert [row for row in rows if "not there yet: publishing makes it" in row]
    assert outcome.err.splitlines()[-1] == "all of it works"
    assert not (here.parent / "home").exists()


def test_a_registry_that_does_not_answer_is_a_problem_and_hides_no_other(
    run: Run, here: Path, dist: Path
) -> None:
    run("publish", dist, "--registry", here / "good")
    (here / "file").write_text("no registry")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/modules"
    places = (here / "good", here / "absent", here / "file", url)
    outcome = run("doctor", *(word for place in places for word in ("--registry", place)))
    assert outcome.code == 1
    rows = {row.split()[1]: row for row in outcome.out.splitlines() if row.startswith("registry")}
    assert "answers, in " in rows["good"]
    assert all("PROBLEM: " in rows[name] for name in ("absent", "file", "modules"))
    assert outcome.err.splitlines()[-1] == "3 problems found"


def test_a_home_that_cannot_be_made_is_a_problem(
    run: Run, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "file").write_text("no folder")
    monkeypatch.setenv("MODPM_HOME", str(here / "file" / "home"))
    outcome = run("doctor", "--json", "--registry", here)
    found = by_name(outcome.out)
    assert outcome.code == 1
    assert found["MODPM_HOME"]["is_problem"]
    assert "cannot be written" in found["MODPM_HOME"]["what"]


def test_what_is_not_installed_is_named_with_what_installs_it(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(doctors.EXTRAS, "s3", ("obstore_that_nobody_has",))
    one = by_name(run("doctor", "--json").out)["s3"]
    assert (one["what"], one["is_problem"]) == ("without obstore_that_nobody_has", False)
    assert one["hint"] == 'pip install "modpm[s3]"'


def test_a_torch_that_cannot_be_imported_is_told(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    outcome = run("doctor", "--json")
    assert outcome.code == 1
    assert by_name(outcome.out)["torch"]["what"].startswith("cannot be used: ")
