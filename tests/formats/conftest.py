"""The golden vectors, and a manifest to begin with."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from modpm.core.formats.manifest import Manifest

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def specs(repository: Path) -> Path:
    """Return the folder of the specifications."""
    return repository / "specs"


@pytest.fixture(scope="session")
def vectors(specs: Path) -> Path:
    """Return the folder of the golden vectors."""
    return specs / "vectors"


@pytest.fixture(scope="session")
def complete_bytes(vectors: Path) -> bytes:
    """Return the bytes of a manifest that has every field."""
    return (vectors / "manifest" / "valid" / "complete.json").read_bytes()


@pytest.fixture(scope="session")
def complete(complete_bytes: bytes) -> Manifest:
    """Return a manifest that has every field."""
    return Manifest.from_bytes(complete_bytes)


@pytest.fixture
def document(complete_bytes: bytes) -> dict[str, Any]:
    """Return the JSON of a manifest that has every field, to be changed."""
    decoded: dict[str, Any] = json.loads(complete_bytes)
    return decoded
