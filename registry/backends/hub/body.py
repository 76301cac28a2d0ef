"""The bytes of an answer, as they come in."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, BinaryIO, cast

import httpx2

from modpm.core.errors import ModpmError
from modpm.registry.backends.retrying import ServerFault

if TYPE_CHECKING:
    from collections.abc import Iterator

_BUFFER_BYTES = 256 * 1024


def as_file(response: httpx2.Response, n_skipped: int = 0) -> BinaryIO:
    """Return what a response holds as a file.

    Args:
        response: Its body is not read yet; closing the file closes it.
        n_skipped: Leave out so many bytes at the start.
    """
    file = io.BufferedReader(_Body(response), _BUFFER_BYTES)
    while n_skipped > 0 and (block := file.read(min(n_skipped, _BUFFER_BYTES))):
        n_skipped -= len(block)
    return cast("BinaryIO", file)


def read_whole(response: httpx2.Response, limit: int) -> bytes:
    """Return what a response holds, or the beginning of it if that is more than the limit.

    Raises:
        ServerFault: It ended early.
    """
    content = bytearray()
    try:
        for block in response.iter_raw():
            content += block
            if len(content) > limit:
                break
    except httpx2.TransportError as error:
        why = f"the answer ended early ({type(error).__name__})"
    else:
        return bytes(content[: limit + 1])
    finally:
        response.close()
    raise ServerFault(why)


class _Body(io.RawIOBase):
    def __init__(self, response: httpx2.Response) -> None:
        self._response = response
        self._blocks = self._arriving()
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # of BufferedReader
        if not self._rest:
            self._rest = memoryview(next(self._blocks, b""))
        n = min(len(buffer), len(self._rest))
        buffer[:n] = self._rest[:n]
        self._rest = self._rest[n:]
        return n

    def close(self) -> None:
        if not self.closed:
            self._response.close()
        super().close()

    def _arriving(self) -> Iterator[bytes]:
        """Give the bytes as they are sent: a connection that is cut ends them early."""
        try:
            yield from filter(None, self._response.iter_raw())
        except (httpx2.RemoteProtocolError, httpx2.ReadError):
            return
        except httpx2.TransportError as error:
            why = f"no more bytes came ({type(error).__name__})"
        else:
            return
        raise ModpmError(
            "the Hub stopped sending",
            code="network-failed",
            where=self._response.url.host,
            why=why,
            hint="check the connection, and run the command again",
        )
