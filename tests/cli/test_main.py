"""The command itself: help, unknown verbs, wrong usage, and the form of errors."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from modpm import __version__
from modpm.cli.command_line import ALIASES, VERB_GROUPS, VERBS
from modpm.cli.main import main

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


@pytest.mark.parametrize("words", [[], ["cache"], ["key"], ["trust"], ["registry"]], ids=" ".join)
def test_a_group_alone_prints_its_help(words: list[str], run: Run) -> None:
    assert run(*words) == run(*words, "--help")
    assert run(*words).code == 0
    assert run(*words).out.startswith(" ".join(["Usage: modpm", *words]))


def test_a_misspelt_verb_of_a_group_gets_a_suggestion(run: Run) -> None:
    outcome = run("cache", "prun")

    assert (outcome.code, outcome.out) == (2, "")
    assert "error: no such command: `cache prun`" in outcome.err
    assert "hint: did you mean `modpm cache prune`?" in outcome.err


@pytest.mark.parametrize(("alias", "verb"), ALIASES.items())
def test_what_users_of_other_package_managers_type_works(alias: str, verb: str, run: Run) -> None:
    helped = run(alias, "--help")

    assert helped.code == 0
    assert helped.out.partition("\n\n")[2] == run(verb, "--help").out.partition("\n\n")[2]
    assert f"  {alias} " not in run("--help").out


def test_a_wrong_option_is_a_usage_error_in_the_one_form(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["list", "--wrong"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: no such option")
    assert "at: modpm list" in err


@pytest.mark.parametrize("option", ["-q", "--quiet"])
def test_a_command_is_quiet_wherever_it_is_told_to_be(
    run: Run, registry: Path, option: str
) -> None:
    orders: list[list[str | Path]] = [
        [option, "install", "digits/8", "--registry", registry],
        ["install", option, "digits/8", "--registry", registry],
        ["install", "digits/8", "--registry", registry, option],
    ]
    for order in orders:
        assert run(*order) == (0, "", "")
        assert run("list", option).out.count("digits/8") == 1
        assert run("remove", "digits/8").err != ""


def test_every_verb_and_every_verb_of_a_verb_can_be_quiet(run: Run) -> None:
    for verb in VERBS:
        assert "-q, --quiet" in run(verb, "--help").out
    for inner in (["cache", "size"], ["key", "new"], ["trust", "add"]):
        assert "-q, --quiet" in run(*inner, "--help").out
    assert run("cache", "prune", "-q") == (0, "", "")


def completed(words: str, monkeypatch: pytest.MonkeyPatch) -> tuple[int, list[str], str]:
    """Return what bash is told that the last of some words can become."""
    monkeypatch.setenv("_MODPM_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split(" ")) - 1))
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "modpm.cli"],
        capture_output=True,
        text=True,
        check=False,
    )
    lines = done.stderr.splitlines()
    told = "\n".join(line for line in lines if not line.startswith("import time:"))
    assert "modpm.cli.train" not in done.stderr
    return done.returncode, [line.partition(",")[2] for line in done.stdout.splitlines()], told


def test_a_shell_completes_verbs_and_options(monkeypatch: pytest.MonkeyPatch) -> None:
    assert completed("modpm ", monkeypatch) == (0, list(VERBS), "")
    assert completed("modpm ins", monkeypatch) == (0, ["install"], "")
    assert completed("modpm install --of", monkeypatch) == (0, ["--offline"], "")
    assert completed("modpm install -q --loc", monkeypatch) == (0, ["--locked"], "")
    assert completed("modpm cache pr", monkeypatch) == (0, ["prune"], "")


def test_a_shell_completes_the_names_of_modules(
    run: Run, registry: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("install", "digits/8", "--registry", registry)
    run("search", "--registry", registry)
    monkeypatch.chdir(here.parent)

    for verb in ("remove", "update", "tree", "compose", "info", "install"):
        words = f"modpm {verb} --project {here} dig"
        names = ["digits/7", "digits/8"] if verb in {"info", "install"} else ["digits/8"]
        assert completed(words, monkeypatch) == (0, names, "")
    assert completed("modpm remove dig", monkeypatch) == (0, [""], "")
    (here / "modpm.toml").write_text("no TOML")
    (here / ".modpm" / "installed.lock").write_text("no TOML")
    assert completed(f"modpm install --project {here} dig", monkeypatch) == (0, [""], "")


def test_a_shell_that_completes_an_unknown_verb_is_told_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, _, told = completed("modpm instal --of", monkeypatch)
    assert told == ""


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_bash_takes_the_completion_that_modpm_prints(tmp_path: Path) -> None:
    program = tmp_path / "modpm"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m modpm.cli "$@"\n')
    program.chmod(0o755)
    script = (
        'eval "$(_MODPM_COMPLETE=bash_source modpm)"; COMP_WORDS=(modpm tra); COMP_CWORD=1; '
        "_modpm_completion modpm; echo ${COMPREPLY[@]}; complete -p modpm"
    )

    done = subprocess.run(
        ["bash", "-c", script],
        env={**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0] == "train"
    assert "_modpm_completion modpm" in done.stdout


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


def test_the_version_takes_little_longer_than_python_itself() -> None:
    # Both in turn, so that whatever else the machine does slows both.
    both = [(seconds("-m", "modpm.cli", "--version"), seconds("-c", "pass")) for _ in range(9)]

    version, python = (statistics.median(times) for times in zip(*both, strict=True))
    assert version <= 2.5 * python
