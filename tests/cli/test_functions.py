"""What the command line does, `modpm` does as functions of the same names and options."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

import pytest
from tests.cli.commands import COMMANDS

import modpm
from modpm.cli.command_line import VERBS

if TYPE_CHECKING:
    from collections.abc import Callable

NAMES = {
    ("list",): ("installed",),  # `from modpm import *` must leave Python's own
    ("registry", "reindex"): ("reindex",),  # `modpm.registry` is what the names of files say
}
OF_THE_COMMAND_LINE = {"as_json"}
ONLY_AS_OPTIONS = {
    "benchmark": {"machine"},  # `measure_machine`
    "compose": {"output", "dry_run"},  # the classifier that is returned has `save`
    "info": {"latency"},  # `estimate_latency`
    "login": {"token_stdin"},
    "outdated": {"accuracy", "exit_code"},  # `measure_update`
    "patch": {"output"},  # its `classifier` has `save`
    "publish": {"check_version", "budget"},  # `check_versions`
    "replace": {"output"},  # its `classifier` has `save`
    "tag": {"delete"},  # `untag`
    "update": {"accuracy"},  # `measure_update`
    "verify": {"accuracy", "classifiers"},  # `verify_accuracy`
    "yank": {"undo"},  # `unyank`
}
ONLY_IN_PYTHON = {"login": {"token"}, "modularize": {"evidence"}, "train": {"classes"}}
IN_BOTH_WORLDS = {"progress", "report", "on_problem"}  # how the function tells how far it is


def function_of(words: tuple[str, ...]) -> Callable[..., object]:
    found: object = modpm
    for word in NAMES.get(words, words):
        found = getattr(found, word)
    assert callable(found)
    return found


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_verb_is_a_function_with_the_same_options(words: tuple[str, ...]) -> None:
    verb = " ".join(words)
    options = {
        parameter.name for parameter in COMMANDS[words].params if parameter.expose_value
    } - OF_THE_COMMAND_LINE
    parameters = set(inspect.signature(function_of(words)).parameters) - IN_BOTH_WORLDS

    assert options - ONLY_AS_OPTIONS.get(verb, set()) == parameters - ONLY_IN_PYTHON.get(
        verb, set()
    )


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_function_says_what_each_of_its_options_is(words: tuple[str, ...]) -> None:
    function = function_of(words)
    text = inspect.getdoc(function)
    assert text is not None
    for name in inspect.signature(function).parameters:
        assert f"    {name}: " in text, name


def test_every_verb_was_looked_at() -> None:
    assert {words[0] for words in COMMANDS} == set(VERBS)
