"""The Hugging Face Hub: a strict server of its protocol on loopback, and the real client."""

from __future__ import annotations

from itertools import count

from huggingface_hub import constants
from tests.registry.backends.hub_server import Account, HubServer
from tests.registry.backends.kinds.kind import Access, Kind

TOKEN, STRANGERS_TOKEN = "hf_the-token-of-a-member", "hf_a-token-that-nobody-gave"


class Hub(Kind):
    """The Hub; a registry is an organization."""

    name = "hub"
    is_http = True
    asks_for_credentials = True

    def start(self) -> None:
        # Read when the library was imported, which may be before this server is there.
        constants.HF_HUB_DISABLE_XET = True
        self._hub = HubServer()

    def stop(self) -> None:
        self._hub.stop()

    def renew(self) -> None:
        self._owner = f"acme-{next(self._numbers)}"
        self._hub.accounts[TOKEN] = Account("alice", (self._owner,))

    @property
    def port(self) -> int:
        return self._hub.port

    def access(self, port: int | None = None) -> Access:
        return self._access(TOKEN, port or self.port)

    def strangers_access(self) -> tuple[Access, str]:
        return self._access(STRANGERS_TOKEN, self.port), STRANGERS_TOKEN

    def _access(self, token: str, port: int) -> Access:
        environment = {
            "HF_ENDPOINT": f"http://127.0.0.1:{port}",
            "HF_HOME": str(self.folder / "hf-home"),
            "HF_HUB_DISABLE_XET": "1",
            "HF_TOKEN": token,
        }
        return Access(f"hf://{self._owner}", environment)

    _numbers = count()
