"""The command itself: help, unknown verbs, wrong usage, and the form of errors."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from modpm import __version__
from modpm.cli.main import VERB_GROUPS, VERBS, main

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Run


def test_help_lists_every_verb_by_what_it_is_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    sections = capsys.readouterr().out.split("\n\n")[-len(VERB_GROUPS) :]
    found = {
        title.rstrip(":"): [line.split()[0] for line in lines]
        for title, *lines in (section.splitlines() for section in sections)
    }
    assert found == {title: list(verbs) for title, verbs in VERB_GROUPS.items()}


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_an_example(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "--help"]) == 0
    assert f"modpm {verb}" in capsys.readouterr().out.split("Example")[1]


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"modpm {__version__}\n"


def test_a_misspelt_verb_gets_a_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["instal"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "error: no such command: `instal`" in captured.err
    assert "hint: did you mean `modpm install`?" in captured.err


def test_a_wrong_option_is_a_usage_error_in_the_one_form(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["list", "--wrong"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: no such option")
    assert "at: modpm list" in err


def test_an_error_comes_as_data_with_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "no name", "--json"]) in {1, 2}
    error = json.loads(capsys.readouterr().out)["error"]
    assert set(error) == {"code", "what", "where", "why", "hint"}


def test_an_error_of_resolving_comes_with_its_derivation(run: Run, registry: Path) -> None:
    outcome = run("install", "digits/7>=2", "--registry", registry, "--json")

    error = json.loads(outcome.out)["error"]
    assert error["code"] == "no-version-fits"
    assert error["derivation"]
    assert all(isinstance(step, dict) for step in error["derivation"])


def seconds(*command: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, *command], check=True, capture_output=True)
    return time.perf_counter() - start


def test_the_version_takes_at_most_three_times_as_long_as_the_library_of_commands() -> None:
    # Both in turn, so that whatever else the machine does slows both.
    both = [
        (seconds("-m", "modpm.cli", "--version"), seconds("-c", "import click")) for _ in range(9)
    ]

    version, click = (statistics.median(times) for times in zip(*both, strict=True))
    assert version <= 3 * click
