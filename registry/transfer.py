"""Copying bytes that are known by digest: what arrives is what was named, or nothing is."""

from __future__ import annotations

import hashlib
import io
import os
from typing import TYPE_CHECKING, BinaryIO

from modpm.core.errors import ModpmError

if TYPE_CHECKING:
    from pathlib import Path

    from modpm.core.formats.manifest import FileRecord

_BLOCK_BYTES = 1024 * 1024


def transfer(source: BinaryIO, target: Path, record: FileRecord, where: str) -> None:
    """Write a new file from a stream, down to the disk, if it is what the record says.

    Args:
        source: The bytes; no more than the record's size and one are read.
        target: The file; it does not exist yet, and is removed again on failure.
        record: The size and digest that the bytes must have.
        where: Where the bytes come from, for errors.

    Raises:
        ModpmError: `truncated`, or `wrong-digest`.
    """
    try:
        with target.open("xb") as file:
            digest, n_bytes = _copy(source, file, record.size_bytes + 1)
            _check(digest, n_bytes, record, where)
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
    content = io.BytesIO()
    digest, n_bytes = _copy(source, content, record.size_bytes + 1)
    _check(digest, n_bytes, record, where)
    return content.getvalue()


def is_intact(path: Path, record: FileRecord) -> bool:
    """Say whether a file is there and is what the record says."""
    try:
        if path.stat().st_size != record.size_bytes:
            return False
        with path.open("rb") as file:
            return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}" == record.digest
    except FileNotFoundError:
        return False


def _copy(source: BinaryIO, target: BinaryIO, limit: int) -> tuple[str, int]:
    hashed, n_bytes = hashlib.sha256(), 0
    while n_bytes < limit and (block := source.read(min(_BLOCK_BYTES, limit - n_bytes))):
        hashed.update(block)
        target.write(block)
        n_bytes += len(block)
    return f"sha256:{hashed.hexdigest()}", n_bytes


def _check(digest: str, n_bytes: int, record: FileRecord, where: str) -> None:
    if n_bytes < record.size_bytes:
        raise ModpmError(
            "a file is truncated",
            code="truncated",
            where=where,
            why=f"it ends after {n_bytes} of {record.size_bytes} bytes",
            hint="publish the release again from a good copy, or use another registry",
        )
    if digest != record.digest:
        raise ModpmError(
            "a file is not the one that was published",
            code="wrong-digest",
            where=where,
            why=f"its digest is {digest}, and {record.digest} was expected",
            hint="do not use it; ask whoever keeps the registry, or use another one",
        )
