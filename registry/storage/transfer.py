"""Copying bytes that are known by digest: what arrives is what was named, or nothing is."""

from __future__ import annotations

import hashlib
import io
import os
import threading
from typing import TYPE_CHECKING, BinaryIO

from modpm.core.errors import ModpmError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from modpm.core.formats.manifest import FileRecord

BLOCK_BYTES = 4 * 1024 * 1024
"""How much is read at once: between any two reads, threads may wait for one another."""

_of_thread = threading.local()


def block_of_thread() -> memoryview:
    """Return memory for the bytes that a thread copies: the same each time, so that it is warm."""
    if not hasattr(_of_thread, "block"):
        _of_thread.block = memoryview(bytearray(BLOCK_BYTES))
    block: memoryview = _of_thread.block
    return block


def read_into(stream: BinaryIO, block: memoryview) -> int:
    """Read what comes next, at most as much as fits; return how many bytes, none at the end."""
    if isinstance(stream, io.BufferedReader | io.BytesIO):
        return stream.readinto1(block)  # what has come in is not lost if what follows is cut
    data = stream.read(len(block))
    block[: len(data)] = data
    return len(data)


def transfer(source: BinaryIO, target: Path, record: FileRecord, where: str) -> None:
    """Write a new file from a stream, down to the disk, if it is what the record says.

    No more than the record's size and one byte are read; on failure the file is removed again.

    Raises:
        ModpmError: `truncated`, or `wrong-digest`.
    """
    try:
        with target.open("xb") as file:
            file.writelines(checked(source, record, where, block_of_thread()))
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        target.unlink(missing_ok=True)
        raise


def receive(source: BinaryIO, record: FileRecord, where: str) -> bytes:
    """Return the bytes of a stream, if they are what the record says.

    Raises:
        ModpmError: `truncated`, or `wrong-digest`.
    """
    return b"".join(map(bytes, checked(source, record, where, block_of_thread())))


def truncated(n_bytes: int, record: FileRecord, where: str, cause: str | None = None) -> ModpmError:
    """Return the error for a file that ends after `n_bytes`, for a cause if it is known."""
    ending = f"; the connection was cut: {cause}" if cause is not None else ""
    return ModpmError(
        "a file is truncated",
        code="truncated",
        where=where,
        why=f"it ends after {n_bytes} of {record.size_bytes} bytes{ending}",
        hint="run the command again to continue; if it ends there again, use another registry, "
        "or publish the release again from a good copy",
    )


def wrong_digest(
    digest: str, record: FileRecord, where: str, *, is_longer: bool = False
) -> ModpmError:
    """Return the error for a file of other bytes, or of more bytes, than the record says."""
    found = (
        f"it goes on after {record.size_bytes} bytes" if is_longer else f"its digest is {digest}"
    )
    return ModpmError(
        "a file is not the one that was published",
        code="wrong-digest",
        where=where,
        why=f"{found}, and {record.digest} was expected",
        hint="do not use it; ask whoever keeps the registry, or use another one",
    )


def checked(
    source: BinaryIO, record: FileRecord, where: str, block: memoryview
) -> Iterator[memoryview]:
    """Give the bytes of a stream in parts, the last only if they are what the record says.

    Each is in the block, and stays as it is until the next is taken.

    Raises:
        ModpmError: `truncated`, or `wrong-digest`.
    """
    hashed, n_left, n_bytes = hashlib.sha256(), record.size_bytes, 0
    while n_left > 0 and (n_bytes := read_into(source, block[:n_left])) > 0:
        hashed.update(block[:n_bytes])
        n_left -= n_bytes
        if n_left > 0:
            yield block[:n_bytes]
    if n_left > 0:
        raise truncated(record.size_bytes - n_left, record, where)
    is_longer = read_into(source, memoryview(bytearray(1))) > 0
    digest = f"sha256:{hashed.hexdigest()}"
    if is_longer or digest != record.digest:
        raise wrong_digest(digest, record, where, is_longer=is_longer)
    yield block[:n_bytes]
