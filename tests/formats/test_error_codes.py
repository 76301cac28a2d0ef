"""The table of `specs/errors.md` against the source."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LISTED = re.compile(r"^\| `([a-z-]+)` \|", re.MULTILINE)
IN_DOCSTRING = re.compile(r"`([a-z]+(?:-[a-z]+)+)`")


def strings(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def keyword_codes(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg == "code":
            yield from strings(node.value)


def documented_codes(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            _, _, raises = (ast.get_docstring(node) or "").partition("Raises:")
            yield from IN_DOCSTRING.findall(raises)


@pytest.fixture(scope="module")
def trees(repository: Path) -> dict[Path, ast.AST]:
    return {
        path: ast.parse(path.read_text(encoding="utf-8"))
        for pattern in (
            "core/**/*.py",
            "registry/**/*.py",
            "cli/**/*.py",
            "verbs/*.py",
            "browsing/*.py",
            "src/modpm/*.py",
        )
        for path in sorted(repository.glob(pattern))
    }


@pytest.fixture(scope="module")
def listed(specs: Path) -> list[str]:
    return LISTED.findall((specs / "errors.md").read_text(encoding="utf-8"))


def test_every_code_of_the_source_is_listed(trees: dict[Path, ast.AST], listed: list[str]) -> None:
    unlisted = {
        code: str(path)
        for path, tree in trees.items()
        for code in (*keyword_codes(tree), *documented_codes(tree))
        if code not in listed and not code.endswith("-")
    }
    assert not unlisted


def test_every_listed_code_is_in_the_source(trees: dict[Path, ast.AST], listed: list[str]) -> None:
    used = {text for tree in trees.values() for text in strings(tree)}
    # A code may be put together: f"unknown-{kind}".
    begun = {code for tree in trees.values() for code in keyword_codes(tree) if code.endswith("-")}
    assert {
        code for code in listed if code not in used and not code.startswith(tuple(begun))
    } == set()


def test_no_code_is_listed_twice(listed: list[str]) -> None:
    assert len(set(listed)) == len(listed)
