"""The golden vectors of errors (`specs/errors.md`): exit codes, and what `--json` prints."""

from __future__ import annotations

import ast
import json
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec
import pytest
from jsonschema import Draft202012Validator, ValidationError

from modpm.cli import command_line
from modpm.cli.error_document import ErrorDocument
from modpm.core.errors import ModpmError
from modpm.core.formats.records import convert
from modpm.registry.resolver.refusals import ResolutionError, Step

if TYPE_CHECKING:
    from collections.abc import Iterator

REPOSITORY = Path(__file__).parents[2]
VECTORS: dict[str, Any] = json.loads(
    (REPOSITORY / "specs" / "vectors" / "errors.json").read_bytes()
)
EXIT_CODES: dict[str, list[int]] = VECTORS["exit_codes"]
CLICKS_OWN = {"failed": {1}}
"""Codes whose exit code is that of an error of the command line library."""


STEP = {"step", "kind", "text", "because"}
"""What every step of a derivation has; all else are its facts."""


def written(keyword: ast.expr | None) -> set[int]:
    """Return the numbers that a call gives as its exit code; 1 if it gives none (E-2)."""
    if keyword is None:
        return {1}
    if isinstance(keyword, ast.IfExp):
        return written(keyword.body) | written(keyword.orelse)
    if isinstance(keyword, ast.Constant) and isinstance(keyword.value, int):
        return {keyword.value}
    return set()


def calls_with_a_code() -> Iterator[tuple[ast.expr, set[int]]]:
    for pattern in (
        "core/**/*.py",
        "registry/**/*.py",
        "cli/**/*.py",
        "verbs/*.py",
        "browsing/*.py",
        "src/modpm/*.py",
    ):
        for path in REPOSITORY.glob(pattern):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call):
                    keywords = {keyword.arg: keyword.value for keyword in node.keywords}
                    if "code" in keywords:
                        yield keywords["code"], written(keywords.get("exit_code"))


def exit_codes_of_the_source() -> dict[str, set[int]]:
    """Return what the source gives each code; 1 where a code is put together, or passed on."""
    found: dict[str, set[int]] = defaultdict(set, CLICKS_OWN)
    begun: dict[str, set[int]] = {}
    for code, exit_codes in calls_with_a_code():
        if isinstance(code, ast.Constant):
            found[str(code.value)] |= exit_codes
        elif isinstance(code, ast.JoinedStr) and isinstance(code.values[0], ast.Constant):
            begun[str(code.values[0].value)] = exit_codes
    for code_ in EXIT_CODES:
        if code_ not in found:
            starts = [codes for start, codes in begun.items() if code_.startswith(start)]
            found[code_] = starts[0] if starts else {1}
    return found


def run_failing(
    error: ModpmError, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[int, str]:
    """Return the exit code and the output of a verb that fails, asked for JSON."""

    @click.command
    @click.option("--json", is_flag=True)
    def fail(json: bool) -> None:  # noqa: ARG001 -- as every verb has it
        raise error

    monkeypatch.setattr(command_line.VerbGroup, "get_command", lambda *_: fail)
    exit_code = command_line.run(["list", "--json"])
    captured = capsys.readouterr()
    assert captured.err == ""
    return exit_code, captured.out


def error_of(document: dict[str, Any], exit_code: int) -> ModpmError:
    fields = dict(document["error"])
    derivation = fields.pop("derivation", None)
    error = ModpmError(fields.pop("what"), exit_code=exit_code, **fields)
    if derivation is None:
        return error
    return ResolutionError(error, str(error.why), [step_of(one) for one in derivation])


def step_of(document: dict[str, Any]) -> Step:
    facts = {name: value for name, value in document.items() if name not in STEP}
    causes = tuple(number - 1 for number in document["because"])
    return Step(document["kind"], document["text"], causes, facts)


@pytest.fixture(scope="module")
def schema() -> Draft202012Validator:
    path = REPOSITORY / "specs" / "schemas" / "error.json"
    return Draft202012Validator(json.loads(path.read_bytes()))


def test_the_golden_exit_codes_are_those_of_the_source() -> None:
    assert {code: set(exits) for code, exits in EXIT_CODES.items()} == exit_codes_of_the_source()


def test_every_listed_code_has_golden_exit_codes() -> None:
    text = (REPOSITORY / "specs" / "errors.md").read_text(encoding="utf-8")
    rows = [line.split("`")[1] for line in text.splitlines() if line.startswith("| `")]
    assert sorted(rows) == sorted(EXIT_CODES)


@pytest.mark.parametrize("code", EXIT_CODES)
def test_every_code_is_printed_as_it_is_and_ends_with_its_exit_code(
    code: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    schema: Draft202012Validator,
) -> None:
    for exit_code in EXIT_CODES[code]:
        error = ModpmError("it cannot be done", code=code, exit_code=exit_code)

        ended, output = run_failing(error, monkeypatch, capsys)

        nothing = dict.fromkeys(("where", "why", "hint"))
        assert ended == exit_code
        assert json.loads(output) == {
            "error": {"code": code, "what": "it cannot be done", **nothing}
        }
        schema.validate(json.loads(output))


@pytest.mark.parametrize(
    "case", VECTORS["valid"], ids=lambda case: case["document"]["error"]["code"]
)
def test_golden_errors_are_printed_alike(
    case: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    schema: Draft202012Validator,
) -> None:
    error = error_of(case["document"], case["exit_code"])

    ended, output = run_failing(error, monkeypatch, capsys)

    assert case["exit_code"] in EXIT_CODES[error.code]
    assert (ended, json.loads(output)) == (case["exit_code"], case["document"])
    schema.validate(json.loads(output))
    msgspec.json.decode(output, type=ErrorDocument)


@pytest.mark.parametrize("case", VECTORS["invalid"], ids=lambda case: case["what"])
def test_golden_bad_errors_are_refused(case: dict[str, Any], schema: Draft202012Validator) -> None:
    with pytest.raises(ValidationError):
        schema.validate(case["document"])
    with pytest.raises(msgspec.ValidationError):
        convert(case["document"], ErrorDocument)
