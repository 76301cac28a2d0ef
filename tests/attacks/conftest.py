"""What the tests of the registry make, for attacks on it, and an empty folder to attack."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.registry.conftest import (
    home,
    make_composition,
    make_distribution,
    put,
    registry,
    without_waiting_for_the_disk,
)

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "here",
    "home",
    "make_composition",
    "make_distribution",
    "put",
    "registry",
    "without_waiting_for_the_disk",
]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder, the current one, of a user without settings."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("MODPM_CONFIG", str(tmp_path / "config.toml"))
    monkeypatch.setenv("NO_COLOR", "1")
    return folder
