"""A copy of a folder on a web server."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

from tests.registry.backends.kinds.kind import Access, Kind
from tests.registry.backends.servers.static_files import StaticFiles

from modpm.registry.backends.directory import DirectoryRegistry

if TYPE_CHECKING:
    from pathlib import Path

    from modpm.registry.backends.protocol import Backend


class Static(Kind):
    """A folder that is published to as a folder and read through a web server."""

    name = "static"
    is_writable = False
    is_http = True

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._server = StaticFiles(folder)
        self._numbers = count()
        self._number = 0

    def start(self) -> None:
        self._server.start()

    def stop(self) -> None:
        self._server.stop()

    def renew(self) -> None:
        self._number = next(self._numbers)

    @property
    def port(self) -> int:
        return self._server.port

    def access(self, port: int | None = None) -> Access:
        return Access(f"http://127.0.0.1:{port or self.port}/{self._number}")

    def writer(self) -> Backend:
        return DirectoryRegistry(self.folder / str(self._number))
