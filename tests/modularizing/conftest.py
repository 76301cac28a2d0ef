"""Fixtures of modularizing: one small run, and what was made of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.modularizing.small_run import train_small

from modpm.core.modularizing.modularize import modularize
from modpm.core.origins.origin import OriginNetwork
from modpm.core.origins.trained_network import Particulars, trained_network

if TYPE_CHECKING:
    from modpm.core.modularizing.modularization import Modularization
    from modpm.core.training.run import Run


@pytest.fixture(scope="session")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return a finished modular run."""
    return train_small(tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture(scope="session")
def origin(small_run: Run) -> OriginNetwork:
    """Return its network."""
    return OriginNetwork(trained_network(small_run, Particulars()))


@pytest.fixture(scope="session")
def made(small_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Modularization:
    """Return what modularizing made of it."""
    return modularize(small_run, output=tmp_path_factory.mktemp("made") / "dist")
