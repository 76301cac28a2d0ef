"""A command or an option that a message, a card or a document names is there."""

from __future__ import annotations

import ast
from functools import cache
from typing import TYPE_CHECKING

import pytest
from tests.cli.commands import options_of, options_told_alone, problem_of, told_commands
from tests.conftest import REPOSITORY

from modpm.cli.command_line import VERBS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PLACEHOLDER = "X"
SEED = "probe batch 1"  # words that images are drawn from, no command
FOLDERS = ("core", "registry", "verbs", "cli")
SOURCES = {
    f"modpm.{path.relative_to(REPOSITORY).with_suffix('').as_posix().replace('/', '.')}": path
    for folder in FOLDERS
    for path in (REPOSITORY / folder).rglob("*.py")
}
DOCUMENTS = [
    *REPOSITORY.glob("*.md"),
    *(path for path in (REPOSITORY / "docs").rglob("*.md") if path.parent.name != "adr"),
    *(REPOSITORY / "specs").glob("*.md"),
    *(REPOSITORY / "benchmarks").glob("*.md"),
]


def texts(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Give the strings of a source, docstrings too, with their lines; what is filled in is `X`."""
    strings = [node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)]
    parts = {id(part) for string in strings for part in string.values}
    for string in strings:
        yield string.lineno, "".join(_text(part) for part in string.values)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts:
            yield node.lineno, node.value


def _text(part: ast.expr) -> str:
    return str(part.value) if isinstance(part, ast.Constant) else PLACEHOLDER


def imported(tree: ast.AST) -> Iterator[str]:
    """Give the modules that a source imports, wherever it does."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@cache
def trees() -> dict[str, ast.AST]:
    return {name: ast.parse(path.read_text("utf-8")) for name, path in SOURCES.items()}


@cache
def verbs_of(module: str) -> frozenset[str]:
    """Return the verbs that can come to a module, as far as imports tell; or all."""
    reaching = frozenset(verb for verb in VERBS if module in _reached(verb))
    return reaching or frozenset(VERBS)


@cache
def _reached(verb: str) -> set[str]:
    reached, waiting = set(), {f"modpm.cli.{verb}"}
    while waiting:
        module = waiting.pop()
        reached.add(module)
        waiting |= set(_imports(module)) - reached
    return reached


@cache
def _imports(module: str) -> frozenset[str]:
    found = set(imported(trees()[module]))
    return frozenset(
        name for name in SOURCES if name in found or name.removesuffix(".__init__") in found
    )


def test_every_command_in_the_source_is_one() -> None:
    told = [
        f"{module}:{line}: modpm {command}: {problem_of(command)}"
        for module, tree in trees().items()
        for line, text in texts(tree)
        for command in told_commands(text)
        if command.split()[0] != PLACEHOLDER and problem_of(command) is not None
    ]

    assert told == []


def test_every_option_in_the_source_is_one_of_a_verb_that_comes_there() -> None:
    options = {verb: options_of(verb) for verb in VERBS}
    told = [
        f"{module}:{line}: {option} is no option of {sorted(verbs)}"
        for module, tree in trees().items()
        for verbs in [verbs_of(module)]
        for line, text in texts(tree)
        for option in options_told_alone(text)
        if not any(option in options[verb] for verb in verbs)
    ]

    assert told == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_every_command_in_a_document_is_one(path: Path) -> None:
    commands = [told for told in told_commands(path.read_text("utf-8")) if told != SEED]

    assert [
        f"modpm {command}: {problem_of(command)}"
        for command in commands
        if problem_of(command) is not None
    ] == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("run `modpm instal NAME`", "no such command"),
        ("run `modpm cache prun --dry-run`", "no such command"),
        ("run `modpm verify --mend`", "No such option"),
        ("run `modpm modularize RUN`", "missing"),
        ("run `modpm train digits --device abacus -o RUN`", "abacus"),
        ("Example: modpm list a/b; modpm list", "too much"),
        ("```shell\nmodpm key new -o ~/a.pem --quick\n```", "No such option"),
    ],
)
def test_what_cannot_be_typed_is_found(text: str, problem: str) -> None:
    assert any(problem in str(problem_of(command)) for command in told_commands(text))


def test_options_alone_are_found_within_words() -> None:
    text = (
        "leave out --skip-bad, or `--set a=b`; not `torchrun --nproc 2` nor `modpm sync --frozen`"
    )

    assert options_told_alone(text) == {"--skip-bad", "--set"}
