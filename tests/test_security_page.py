"""Each sentence of the page on security names tests, and they are there."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

_NAMED = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


@pytest.fixture
def page(repository: Path) -> str:
    return (repository / "docs" / "security.md").read_text(encoding="utf-8")


def test_every_test_that_the_page_names_is_there(repository: Path, page: str) -> None:
    named = _NAMED.findall(page)
    assert named
    for file, name in named:
        tree = ast.parse((repository / file).read_text(encoding="utf-8"))
        assert name in {one.name for one in ast.walk(tree) if isinstance(one, ast.FunctionDef)}


def test_whatever_nobody_can_do_is_held_by_a_test(page: str) -> None:
    claims = [line for line in page.splitlines() if line.startswith("- ")]
    assert len(claims) > len([line for line in claims if line.startswith("- Can ")])
    for line in claims:
        assert line.startswith("- Can ") or _NAMED.search(line), line
