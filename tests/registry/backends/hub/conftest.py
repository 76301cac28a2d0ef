"""A strict Hub on loopback, asked by the real client in this process."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from huggingface_hub import constants
from tests.registry.backends.hub_server import Account, HubServer, running_hub

from modpm.registry.backends.hub.registry import HubRegistry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TOKEN = "hf_token-of-alice"  # noqa: S105 -- the server's own


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """Return a Hub on which Alice, of the organization `acme`, is logged in."""
    with running_hub() as server:
        server.accounts[TOKEN] = Account("alice", ("acme",))
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        # These were read when the library was imported.
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "hf" / "token"))
        monkeypatch.setattr(constants, "HF_STORED_TOKENS_PATH", str(tmp_path / "hf" / "tokens"))
        yield server


@pytest.fixture
def registry_of_acme(hub: HubServer) -> HubRegistry:
    assert hub.url
    return HubRegistry("hf://acme")
