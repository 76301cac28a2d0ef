"""The page of the methods names all there are, and what can be set of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from modpm.core.training.effort import EFFORTS
from modpm.core.training.methods import METHODS, find_method

PAGE = (Path(__file__).parents[1] / "docs" / "methods.md").read_text("utf-8")
HEADINGS = [line for line in PAGE.splitlines() if line.startswith("## ")]


@pytest.mark.parametrize("name", list(METHODS.shipped))
def test_every_method_has_a_section_and_its_settings_are_told(name: str) -> None:
    assert any(f"`{name}`" in heading for heading in HEADINGS)
    settings = find_method(name).settings
    for setting in settings:
        assert f"--set {setting}=" in PAGE


@pytest.mark.parametrize("name", list(EFFORTS))
def test_every_effort_is_told(name: str) -> None:
    assert f"--effort {name}" in PAGE


def test_no_setting_is_told_that_no_method_has() -> None:
    known = {setting for name in METHODS.shipped for setting in find_method(name).settings}
    assert set(re.findall(r"--set (\w+)=", PAGE)) - {"NAME"} == known
