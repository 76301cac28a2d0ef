"""Asking a server again: how often, how long apart, and what is said when it does not help."""

from __future__ import annotations

import random
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, TypeVar

from modpm.core.errors import ModpmError

if TYPE_CHECKING:
    from collections.abc import Callable

TIMEOUT_SECONDS = 20.0
"""How long a server may take to answer, or to send the next bytes."""
PAUSES_SECONDS = (0.1, 0.3, 0.9)
"""Before the second, third and fourth attempt; each is drawn from half of it to all of it."""
MAX_WAIT_SECONDS = 30.0
"""The longest wait that a server may ask for before modpm gives up at once."""
PASSING_STATUSES = frozenset({500, 502, 503, 504})
TOO_MANY_REQUESTS = 429

_Answer = TypeVar("_Answer")
_jitter = random.Random()  # noqa: S311 - only spreads out clients that failed together


class ServerFault(Exception):  # noqa: N818 - it is no error yet
    """A fault of a server, or of the way to it, that may be gone when it is asked again.

    Args:
        why: What the server did; without a token or a signed address in it.
        is_rate_limit: Whether the server has had too many requests.
        wait_seconds: How long the server asks to wait; None if it does not say.
    """

    def __init__(
        self, why: str, *, is_rate_limit: bool = False, wait_seconds: float | None = None
    ) -> None:
        super().__init__(why)
        self.why = why
        self.is_rate_limit = is_rate_limit
        self.wait_seconds = wait_seconds


def fault_of_status(status: int, retry_after: str | None = None) -> ServerFault | None:
    """Return the fault that a status of HTTP means; None if asking again cannot help.

    Args:
        status: The status.
        retry_after: The header `Retry-After`: seconds or a date.
    """
    if status == TOO_MANY_REQUESTS:
        wait = _seconds_of(retry_after)
        return ServerFault("it has had too many requests", is_rate_limit=True, wait_seconds=wait)
    if status in PASSING_STATUSES:
        return ServerFault(f"it answers with status {status}")
    return None


def persistently(ask: Callable[[], _Answer], where: str) -> _Answer:
    """Return the answer of a server, and ask again while it is at fault.

    Args:
        ask: Asks once; it raises `ServerFault` where asking again may help. What it does must
            be right even if the server had done it already.
        where: The registry, for the error.

    Raises:
        ModpmError: `rate-limited`, if the server asks to wait for longer than 30 seconds or
            still has too many requests at the end; `network-failed`, if it is still at fault.
    """
    for pause in PAUSES_SECONDS:
        try:
            return ask()
        except ServerFault as fault:
            _wait(fault, pause, where)
    try:
        return ask()
    except ServerFault as fault:
        raise _given_up(fault, where) from None


def _wait(fault: ServerFault, pause: float, where: str) -> None:
    asked_for = fault.wait_seconds
    if asked_for is not None and asked_for > MAX_WAIT_SECONDS:
        raise _given_up(fault, where) from None
    time.sleep(max(asked_for or 0.0, pause * _jitter.uniform(0.5, 1.0)))


def _given_up(fault: ServerFault, where: str) -> ModpmError:
    if not fault.is_rate_limit:
        return ModpmError(
            "the registry cannot be reached",
            code="network-failed",
            where=where,
            why=fault.why,
            hint="check the connection and the address, and run the command again",
        )
    wait = fault.wait_seconds
    return ModpmError(
        "the registry asks to come back later",
        code="rate-limited",
        where=where,
        why=fault.why if wait is None else f"{fault.why}, and asks to wait {wait:.0f} seconds",
        hint="wait, and run the command again: what has arrived is not sent again",
    )


def _seconds_of(retry_after: str | None) -> float | None:
    if retry_after is None:
        return None
    try:
        if retry_after.strip().isascii() and retry_after.strip().isdigit():
            return float(retry_after)
        then = parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    then = then if then.tzinfo is not None else then.replace(tzinfo=UTC)
    return max(0.0, (then - datetime.now(UTC)).total_seconds())
