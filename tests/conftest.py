"""Fixtures that every part uses."""

from __future__ import annotations

import itertools
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from modpm.cli import command_line, progress_lines
from modpm.cli.output import report_error
from modpm.registry.backends import retrying
from tests.cli.commands import options_of, options_told_alone

if TYPE_CHECKING:
    from collections.abc import Iterator

    from modpm.core.errors import ModpmError

REPOSITORY = Path(__file__).resolve().parents[1]

# A change is judged by the same examples each time; at a desk every run draws new ones. Times are
# not asserted: machines are shared.
settings.register_profile("judge", derandomize=True, deadline=None)
settings.register_profile("desk", deadline=None)
settings.load_profile("judge" if "CI" in os.environ else "desk")


@pytest.fixture(autouse=True)
def _hosts_are_new() -> None:
    """Let no test wait less for a host because another test had given up one of its port."""
    retrying._given_up.clear()


@pytest.fixture(scope="session", autouse=True)
def _user_is_nobody(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep decoded images, and whatever else is a user's, out of the folder of who tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MODPM_HOME", str(tmp_path_factory.mktemp("home")))
        patch.delenv("COLUMNS", raising=False)  # lines are as long as they are, whoever tests
        yield


@pytest.fixture(autouse=True)
def _no_work_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no line of progress depend on how fast the machine is."""
    monkeypatch.setattr(progress_lines, "EVERY_SECONDS", math.inf)
    monkeypatch.setattr(progress_lines, "ENOUGH_SECONDS", math.inf)


@pytest.fixture(scope="session", autouse=True)
def _hints_name_options_of_the_verb() -> Iterator[None]:
    """Let no hint name an option alone that the verb which failed does not have."""
    run = command_line.run
    words: list[str] = []

    def run_and_remember(argv: list[str]) -> int:
        words[:] = itertools.takewhile(lambda word: not word.startswith("-"), argv)
        return run(argv)

    def check_and_report(error: ModpmError, *, as_json: bool) -> None:
        verb = command_line.ALIASES.get(words[0], words[0]) if words else ""
        told = options_told_alone(error.hint or "")
        assert verb not in command_line.VERBS or told <= options_of(verb), error.hint
        report_error(error, as_json=as_json)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command_line, "run", run_and_remember)
        patch.setattr(command_line, "report_error", check_and_report)
        yield


@pytest.fixture(scope="session")
def repository() -> Path:
    """Return the root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of real data sets that stands beside a checkout, or skip."""
    folder = REPOSITORY.parent / "shared" / "data"
    if not (folder / "cifar10").is_dir():
        pytest.skip("no real data sets in ../shared/data beside this checkout")
    return folder
