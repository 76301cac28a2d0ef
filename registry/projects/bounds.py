"""What choosing releases must keep to."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime
from typing import NamedTuple

from modpm.core.errors import ModpmError

_TIMEOUT_VARIABLE = "MODPM_RESOLVE_TIMEOUT"
_DEFAULT_SECONDS = 20.0
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_TIME = re.compile(rf"{_DATE.pattern}[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", re.ASCII)


class Bounds(NamedTuple):
    """What choosing releases must keep to.

    Attributes:
        until: Releases published after this, as indexes write times, are as if absent, but for
            those that are locked and stay; None for no such time.
        limit_seconds: How long it may take.
    """

    until: str | None
    limit_seconds: float

    @classmethod
    def of(cls, exclude_newer: str | None = None, resolve_timeout: float | None = None) -> Bounds:
        """Return the bounds that a user sets.

        Args:
            exclude_newer: A date, which counts to its end in UTC, or a time, as in RFC 3339.
            resolve_timeout: Seconds; None for those of `MODPM_RESOLVE_TIMEOUT`, or else 20.

        Raises:
            ModpmError: `bad-setting`.
        """
        until = None if exclude_newer is None else _until(exclude_newer)
        if resolve_timeout is None:
            return cls(until, _seconds(os.environ.get(_TIMEOUT_VARIABLE) or _DEFAULT_SECONDS))
        return cls(until, _seconds(resolve_timeout))


def _until(text: str) -> str:
    """Return a time as indexes write it, to the second."""
    time = f"{text}T23:59:59Z" if _DATE.fullmatch(text) else text.upper()
    moment = _moment(time) if _TIME.fullmatch(time) else None
    if moment is None:
        raise ModpmError(
            f"{text[:40]!r} is neither a date nor a time",
            code="bad-setting",
            hint="write `2026-01-31`, or `2026-01-31T12:00:00Z`, for `--exclude-newer`",
            exit_code=2,
        )
    return moment.replace(microsecond=0, tzinfo=None).isoformat() + "Z"


def _moment(time: str) -> datetime | None:
    try:
        return datetime.fromisoformat(time).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _seconds(given: float | str) -> float:
    try:
        seconds = float(given)
    except ValueError:
        raise _no_time(given) from None
    if seconds > 0:
        return seconds
    raise _no_time(given)


def _no_time(given: float | str) -> ModpmError:
    return ModpmError(
        f"resolving cannot be given {str(given)[:40]!r} seconds",
        code="bad-setting",
        hint=f"give a number above 0 by `--resolve-timeout`, or in `{_TIMEOUT_VARIABLE}`",
        exit_code=2,
    )
