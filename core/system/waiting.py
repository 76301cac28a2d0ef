"""Telling a person what a command waits for, once it has taken long enough to be wondered at."""

from __future__ import annotations

import time
from contextlib import contextmanager
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PATIENCE_SECONDS = 2.0
"""For how long nothing is said."""

_IDLE_SECONDS = 5.0


class _Listener:
    """Who is told, nobody, unless a program says so; and what was said already."""

    tell: Callable[[str], None] | None = None
    told: set[str]


def listen(tell: Callable[[str], None] | None) -> None:
    """Let somebody be told, once each, what goes on, from any thread; None for nobody."""
    _Listener.tell, _Listener.told = tell, set()


def say_waiting(for_what: str) -> None:
    """Tell whoever listens that something is waited for."""
    say_once(f"waiting for {for_what}")


def say_once(what: str) -> None:
    """Tell whoever listens something, unless it was told already."""
    if _Listener.tell is not None and what not in _Listener.told:
        _Listener.told.add(what)
        _Listener.tell(what)


@contextmanager
def waiting(for_what: str) -> Iterator[None]:
    """Do something that may take long, and say after two seconds what for."""
    if _Listener.tell is None:
        yield
        return
    key = _watch.begin(for_what)
    try:
        yield
    finally:
        _watch.end(key)


class _Watch:
    """One thread for all waits of a command, as long as there are any."""

    def __init__(self) -> None:
        self._waits: dict[object, tuple[str, float]] = {}
        self._is_looked_at = False
        self._lock = Lock()

    def begin(self, for_what: str) -> object:
        key = object()
        with self._lock:
            self._waits[key] = for_what, time.monotonic()
            if not self._is_looked_at:
                self._is_looked_at = True
                Thread(target=self._look, daemon=True).start()
        return key

    def end(self, key: object) -> None:
        with self._lock:
            del self._waits[key]

    def _look(self) -> None:
        pause, last = Event(), time.monotonic()
        while True:
            pause.wait(PATIENCE_SECONDS / 10)
            now = time.monotonic()
            with self._lock:
                waits = list(self._waits.values())
                if not waits and now - last > _IDLE_SECONDS:
                    self._is_looked_at = False
                    return
            last = now if waits else last
            for for_what, since in waits:
                if now - since >= PATIENCE_SECONDS:
                    say_waiting(for_what)


_watch = _Watch()
