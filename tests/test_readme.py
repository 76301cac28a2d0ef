"""Every block of code of the README runs, and its two commands are those of the Makefile."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.pages.blocks import run_document
from tests.pages.reader import become_reader

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.slow
def test_every_block_of_code_runs(repository: Path, tmp_path: Path) -> None:
    become_reader(tmp_path)

    printed = run_document(repository / "README.md", tmp_path)

    assert "photo.png" in printed
    assert "cat" in printed


def test_the_readme_has_both_commands_as_the_makefile_has_them(repository: Path) -> None:
    readme = (repository / "README.md").read_text("utf-8")
    targets = re.findall(r"^    make (\w+)", readme, re.MULTILINE)
    makefile = (repository / "Makefile").read_text("utf-8")
    assert targets == ["demo", "test"]
    assert all(f"\n{target}:" in makefile for target in targets)


def test_the_readme_keeps_to_one_screen_and_a_half(repository: Path) -> None:
    assert len((repository / "README.md").read_text("utf-8").splitlines()) <= 110
