from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Run


def test_a_yank_is_said_and_taken_back(run: Run, registry: Path) -> None:
    done = run("yank", "digits/7==1.1.0", "--reason", "labels swapped", "--registry", registry)
    undone = run("yank", "digits/7==1.1.0", "--undo", "--registry", registry)

    assert (done.code, done.out, done.err) == (
        0,
        "",
        "digits/7 1.1.0 is yanked: labels swapped\n",
    )
    assert (undone.code, undone.err) == (0, "digits/7 1.1.0 is not yanked\n")


def test_json_is_what_is_listed(run: Run, registry: Path) -> None:
    outcome = run(
        "yank", "digits/7==1.1", "--reason", "labels swapped", "--registry", registry, "--json"
    )

    assert json.loads(outcome.out) == {
        "name": "digits/7",
        "version": "1.1.0",
        "yanked": "labels swapped",
    }


@pytest.mark.parametrize("options", [[], ["--reason", "why not", "--undo"]])
def test_either_a_reason_or_undo_is_given(run: Run, registry: Path, options: list[str]) -> None:
    outcome = run("yank", "digits/7==1.1.0", *options, "--registry", registry)

    assert outcome.code == 2
    assert "hint: give either `--reason TEXT` or `--undo`" in outcome.err


def test_a_release_that_is_not_there_exits_with_1(run: Run, registry: Path) -> None:
    outcome = run("yank", "digits/7==9", "--reason", "why not", "--registry", registry)

    assert outcome.code == 1
    assert outcome.err == (
        "error: `digits/7` has no release 9\n"
        f"  at: registry {registry}\n"
        "  because: its releases are 1.0.0, 1.1.0\n"
    )
