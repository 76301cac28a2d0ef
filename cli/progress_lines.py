"""How far a long work is, in lines: where there is no terminal to show a bar on."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from modpm.cli.output import say

if TYPE_CHECKING:
    from collections.abc import Callable

    from modpm.core.training.session import Progress

EVERY_SECONDS = 30.0
"""Between two lines, at least."""

ENOUGH_SECONDS = 3.0
"""Of steps, to say how long the others will take."""

_ENOUGH_STEPS = 3
_MINUTE, _HOUR = 60, 3600


class Lines:
    """Says how far a work is, every so often.

    Args:
        clock: Tells the time, in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last = clock()

    def tell(self, place: Callable[[], str]) -> None:
        """Say where the work is, unless something was said a moment ago."""
        if self._clock() - self._last >= EVERY_SECONDS:
            self.say(place())

    def say(self, line: str) -> None:
        """Say a line now."""
        say(line)
        self._last = self._clock()


class Estimate:
    """Says after the first steps of training how long an epoch will take.

    Args:
        clock: Tells the time, in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._first: tuple[int, float] | None = None
        self._is_told = False

    def of(self, progress: Progress) -> str | None:
        """Return a sentence, once: as soon as enough steps after the first, slow one are done."""
        done = (progress.epoch - 1) * progress.n_steps + progress.step
        self._is_told = self._is_told or progress.metrics is not None
        if self._is_told:
            return None
        if self._first is None:
            self._first = done, self._clock()
        n, seconds = done - self._first[0], self._clock() - self._first[1]
        if n < _ENOUGH_STEPS or seconds < ENOUGH_SECONDS:
            return None
        self._is_told = True
        left = progress.n_epochs * progress.n_steps - done
        epoch, rest = (duration(steps * seconds / n) for steps in (progress.n_steps, left))
        return f"an epoch will take about {epoch}, all that is left {rest}"


def duration(seconds: float) -> str:
    """Return a time in words: `41 s`, `3 min 20 s`, `2 h 5 min`."""
    whole = round(seconds)
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE} s"
    return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE} min"
