"""A folder."""

from __future__ import annotations

from itertools import count

from tests.registry.backends.kinds.kind import Access, Kind


class Directory(Kind):
    """A folder; the file system is its server."""

    name = "directory"

    def renew(self) -> None:
        self._place = self.folder / str(next(self._numbers))

    def access(self, port: int | None = None) -> Access:
        assert port is None, "a folder has no port"
        return Access(str(self._place))

    _numbers = count()
