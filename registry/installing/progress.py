"""How far a download is, told to whoever shows it."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import TypeAlias

Progress: TypeAlias = Callable[[int, int], None]
"""Called with the bytes that have arrived and those that must arrive; never twice at once."""


class Meter:
    """Counts the bytes of all downloads of one command.

    Args:
        total_bytes: What must arrive.
        progress: Whom to tell.
    """

    def __init__(self, total_bytes: int, progress: Progress | None) -> None:
        self._total_bytes = total_bytes
        self._progress = progress
        self._n_bytes = 0
        self._lock = Lock()
        self._is_stopped = False

    def advance(self, n_bytes: int) -> None:
        """Count bytes that have arrived; a negative number if they are thrown away again.

        Raises:
            KeyboardInterrupt: Nobody wants the rest any more (`stop`).
        """
        if self._is_stopped:
            raise KeyboardInterrupt
        if self._progress is None:
            return
        with self._lock:
            self._n_bytes += n_bytes
            self._progress(self._n_bytes, self._total_bytes)

    def stop(self) -> None:
        """End every download that is still running, at its next block."""
        self._is_stopped = True
