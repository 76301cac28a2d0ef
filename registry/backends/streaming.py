"""The bytes of a file as they come in from a server, read like any file."""

from __future__ import annotations

import io
import time
from typing import TYPE_CHECKING, BinaryIO

from modpm.core.errors import ModpmError
from modpm.core.system.waiting import waiting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from typing_extensions import Buffer

LOW_SPEED_SECONDS = 20.0
"""For how long a server may send next to nothing."""
LOW_SPEED_BYTES = 1000
"""Fewer bytes in a second are next to nothing."""

_BUFFER_BYTES = 256 * 1024


def opened(
    pieces: Iterator[bytes], where: str, close: Callable[[], None] = lambda: None
) -> BinaryIO:
    """Return a file that gives what comes in, in pieces of any size, and holds no more than one."""
    return io.BufferedReader(_Pieces(pieces, where, close), _BUFFER_BYTES)


def skipped(pieces: Iterator[bytes], n_bytes: int) -> Iterator[bytes]:
    """Give the pieces without the first bytes, which were not wanted."""
    for piece in pieces:
        if n_bytes >= len(piece):
            n_bytes -= len(piece)
        else:
            yield piece[n_bytes:]
            n_bytes = 0


def cut(where: str, why: str = "the connection was cut") -> ModpmError:
    """Return the error of a connection that ends before the file does."""
    return ModpmError(
        "a file is truncated",
        code="truncated",
        where=where,
        why=why,
        hint="run the command again",
    )


class Pace:
    """Whether bytes come fast enough; a timeout alone is for each piece.

    One byte in nineteen seconds would never meet a timeout of twenty.
    """

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Forget what came before."""
        self._n_seconds, self._n_bytes = 0.0, 0

    def is_kept(self, read: Callable[[], bytes]) -> tuple[bytes, bool]:
        """Return what is read, and whether there is more than next to nothing of late."""
        start = time.monotonic()
        data = read()
        self._n_seconds += time.monotonic() - start
        self._n_bytes += len(data)
        is_kept = self._n_bytes >= LOW_SPEED_BYTES * self._n_seconds
        if self._n_seconds <= LOW_SPEED_SECONDS:
            return data, True
        self.restart()
        return data, is_kept


class _Pieces(io.RawIOBase):
    def __init__(self, pieces: Iterator[bytes], where: str, close: Callable[[], None]) -> None:
        super().__init__()
        self._where = where
        self._pieces = pieces
        self._close = close
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int:
        while not self._rest:
            with waiting(self._where):
                piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._rest = memoryview(piece)
        target = memoryview(buffer).cast("B")
        n_bytes = min(len(target), len(self._rest))
        target[:n_bytes] = self._rest[:n_bytes]
        self._rest = self._rest[n_bytes:]
        return n_bytes

    def close(self) -> None:
        if not self.closed:
            self._close()
        super().close()
