"""Fixtures that every part uses."""

from __future__ import annotations

from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


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
