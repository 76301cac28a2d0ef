"""Telling a person what a command waits for, once it has taken long enough to be wondered at."""

from __future__ import annotations

from contextlib import contextmanager
from threading import Timer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PATIENCE_SECONDS = 2.0
"""For how long nothing is said."""


class _Listener:
    """Who is told; nobody, unless a program says so."""

    tell: Callable[[str], None] | None = None


def listen(tell: Callable[[str], None] | None) -> None:
    """Let somebody be told what is waited for, from any thread; None for nobody."""
    _Listener.tell = tell


def say_waiting(for_what: str) -> None:
    """Tell whoever listens that something is waited for."""
    if _Listener.tell is not None:
        _Listener.tell(f"waiting for {for_what}")


@contextmanager
def waiting(for_what: str) -> Iterator[None]:
    """Do something that may take long, and say after two seconds what for."""
    timer = Timer(PATIENCE_SECONDS, say_waiting, [for_what])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
