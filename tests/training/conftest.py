from __future__ import annotations

import pytest

from modpm.core.training import checkpoint
from modpm.core.training.checkpoint import CheckpointWriter


@pytest.fixture
def kept_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the state whenever losses are read, after the last one is written."""
    monkeypatch.setattr(checkpoint, "SECONDS", 0.0)
    monkeypatch.setattr(CheckpointWriter, "check", CheckpointWriter.finish)
