"""Downloading one file that is known by digest; what an interruption left is continued.

The bytes go to a partial file. It is finished when it is what the record says; it stays when the
bytes end too early, so that the next download begins where this one ended; it is thrown away when
its bytes are wrong.
"""

from __future__ import annotations

import hashlib
import os
import time
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from modpm.core.errors import ModpmError
from modpm.registry.storage.transfer import block_of_thread, read_into, truncated, wrong_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from modpm.core.formats.manifest import FileRecord

N_RESUMES = 4
"""How often in a row a download is resumed that brings next to nothing."""

_MUCH_BYTES = 1024 * 1024
_PAUSE_SECONDS = 0.1
_PASSING = {"network-failed", "rate-limited", "truncated"}


class Source(NamedTuple):
    """A place that may have a file, which opens it from a byte on.

    As long as `hurried` is entered, nobody is waited for who has failed once.
    """

    where: str
    open: Callable[[int], BinaryIO]
    hurried: Callable[[], AbstractContextManager[None]] = nullcontext


def download(
    part: Path,
    record: FileRecord,
    sources: Sequence[Source],
    advance: Callable[[int], None],
    *,
    is_synced: bool = True,
) -> None:
    """Complete a partial file, which is absent, or what an interrupted download has left.

    Each source is tried only if those before it fail, and none is waited for before all were tried.

    Raises:
        ModpmError: What is wrong with the first source: `truncated`, `wrong-digest`, or what
            opening it raises.
        OSError: The file cannot be written; it is removed.
    """
    try:
        with part.open("ab") as file:
            _complete(_Partial(part, file, record, advance), sources)
            file.flush()
            if is_synced:
                os.fsync(file.fileno())
    except ModpmError:
        if part.stat().st_size == 0:
            part.unlink()
        raise
    except OSError:
        part.unlink(missing_ok=True)
        raise


def _complete(partial: _Partial, sources: Sequence[Source]) -> None:
    errors: dict[Source, ModpmError] = {}
    for is_hurried in (True, False)[len(sources) == 1 :]:
        for source in sources:
            if source in errors and errors[source].code not in _PASSING:
                continue
            try:
                with source.hurried() if is_hurried else nullcontext():
                    partial.complete(source, 0 if is_hurried else N_RESUMES)
            except ModpmError as error:
                errors[source] = error
            else:
                return
    raise errors[sources[0]]


class _Partial:
    """A file that grows, and the digest of what it has."""

    def __init__(
        self, path: Path, file: BinaryIO, record: FileRecord, advance: Callable[[int], None]
    ) -> None:
        self._file = file
        self._record = record
        self._advance = advance
        self._hashed = hashlib.sha256()
        self._n_bytes = 0
        self._n_fruitless = self._n_resumes = 0
        self._cause: str | None = None
        self._take_up(path)

    def complete(self, source: Source, n_resumes: int) -> None:
        """Append what a source has, until the file is what the record says.

        Args:
            source: The source.
            n_resumes: How often in a row to go on after next to nothing came.
        """
        self._n_resumes = n_resumes
        is_continued = self._n_bytes > 0
        is_longer = self._fill(source)
        if is_continued and not self._is_right():
            self._clear()  # what was there may have been of another file, or damaged
            is_longer = self._fill(source)
        if is_longer or not self._is_right():
            digest = self._digest()
            self._clear()
            raise wrong_digest(digest, self._record, source.where, is_longer=is_longer)

    def _take_up(self, path: Path) -> None:
        n_present = os.fstat(self._file.fileno()).st_size
        if n_present == 0:
            return
        if n_present > self._record.size_bytes:
            self._clear()
        with path.open("rb") as present:
            self._hashed = hashlib.file_digest(present, "sha256")
            self._n_bytes = present.tell()
        self._advance(self._n_bytes)

    def _digest(self) -> str:
        return f"sha256:{self._hashed.hexdigest()}"

    def _is_right(self) -> bool:
        return self._digest() == self._record.digest

    def _clear(self) -> None:
        self._advance(-self._n_bytes)
        self._file.truncate(0)
        self._hashed, self._n_bytes = hashlib.sha256(), 0

    def _fill(self, source: Source) -> bool:
        """Append until the file has its size; say whether the source goes on after it."""
        self._n_fruitless, is_longer = 0, False
        while self._n_bytes < self._record.size_bytes:
            with source.open(self._n_bytes) as stream:
                is_longer = self._append(stream)
            if self._n_bytes < self._record.size_bytes and self._n_fruitless > self._n_resumes:
                raise truncated(self._n_bytes, self._record, source.where, self._cause)
        return is_longer

    def _append(self, stream: BinaryIO) -> bool:
        before, self._cause = self._n_bytes, None
        block = block_of_thread()
        while (n_left := self._record.size_bytes - self._n_bytes) > 0:
            n_bytes = self._read(stream, block[:n_left])
            if n_bytes == 0:
                self._count_cut(self._n_bytes - before)
                return False
            self._hashed.update(block[:n_bytes])
            self._file.write(block[:n_bytes])
            self._n_bytes += n_bytes
            self._advance(n_bytes)
        return self._read(stream, block[:1]) > 0

    def _read(self, stream: BinaryIO, block: memoryview) -> int:
        """Read the next bytes; none at the end, or where the connection is cut."""
        try:
            return read_into(stream, block)
        except (OSError, ModpmError) as error:
            if isinstance(error, ModpmError) and error.code not in {"network-failed", "truncated"}:
                raise
            self._cause = str(error).partition("\n")[0]
            return 0

    def _count_cut(self, n_brought: int) -> None:
        self._n_fruitless = self._n_fruitless + 1 if n_brought < _MUCH_BYTES else 0
        if n_brought == 0 and self._cause is None:
            self._n_fruitless = self._n_resumes + 1  # that is all there is
        elif self._cause is not None and self._n_fruitless <= self._n_resumes:
            time.sleep(_PAUSE_SECONDS * 2**self._n_fruitless)
