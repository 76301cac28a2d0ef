"""Asking a server again: how often, how long apart, and what is said when it does not help.

What is spent on a host is spent once. When one request has given a host up, the others do not wait
for it again: a host that cannot be reached is not asked for half a minute, and one that fails is
asked once each time, until it answers.
"""

from __future__ import annotations

import random
import time
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from modpm.core.errors import ModpmError
from modpm.core.system.waiting import waiting
from modpm.registry.backends.refusals import network_failed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TIMEOUT_SECONDS = 20.0
"""How long a server may take to answer, or to send the next bytes."""
PAUSES_SECONDS = (0.1, 0.3, 0.9)
"""Before the second, third and fourth attempt; each is drawn from half of it to all of it."""
MAX_WAIT_SECONDS = 30.0
"""The longest wait that a server may ask for before modpm gives up at once."""
REST_SECONDS = 30.0
"""For how long a host that was given up is not waited for again."""
PATIENCE_SECONDS = 60.0
"""For how long a writer tries to make a change while others are faster."""
PASSING_STATUSES = frozenset({500, 502, 503, 504})
TOO_MANY_REQUESTS = 429

_FIRST_TURN_SECONDS, _LONGEST_TURN_SECONDS = 0.05, 2.0

_Answer = TypeVar("_Answer")
_jitter = random.Random()  # noqa: S311 - only spreads out clients that failed, or met, together
_is_hurried = ContextVar("_is_hurried", default=False)


@dataclass(eq=False)
class ServerFault(Exception):  # noqa: N818 - it is no error yet
    """A fault of a server, or of the way to it, that may be gone when it is asked again.

    Attributes:
        why: What the server did; without a token or a signed address in it.
        host: Whose fault it is; none, if others are to be asked by it all the same.
        wait_seconds: How long the server asks to wait; None if it does not say.
    """

    why: str
    host: str = ""
    is_unreachable: bool = False
    is_rate_limit: bool = False
    wait_seconds: float | None = None


class _GivenUp(NamedTuple):
    since: float
    fault: ServerFault
    is_tried: bool  # as often as it may be


_given_up: dict[str, _GivenUp] = {}


@contextmanager
def hurried() -> Iterator[None]:
    """Wait for no host twice, as long as the block lasts: there are others to ask."""
    before = _is_hurried.set(True)
    try:
        yield
    finally:
        _is_hurried.reset(before)


def check_host(host: str) -> None:
    """Refuse to ask a host that could not be reached a moment ago.

    Raises:
        ServerFault: What was found then.
    """
    found = _given_up_now(host)
    if found is not None and found.is_unreachable:
        raise replace(found)


def suspect(fault: ServerFault) -> None:
    """Note that a host fails, so that who is in a hurry asks others."""
    if _given_up_now(fault.host) is None:
        _give_up(fault, is_tried=False)


def host_answers(host: str) -> None:
    """Note that a host does what it should: it may be waited for again."""
    _given_up.pop(host, None)


def fault_of_status(
    status: int, retry_after: str | None = None, host: str = ""
) -> ServerFault | None:
    """Return the fault that a status of HTTP means; None if asking again cannot help.

    `Retry-After` is in seconds, or a date.
    """
    if status == TOO_MANY_REQUESTS:
        wait = _seconds_of(retry_after)
        why = "it has had too many requests"
        return ServerFault(why, host, is_rate_limit=True, wait_seconds=wait)
    if status in PASSING_STATUSES:
        return ServerFault(f"it answers with status {status}", host)
    return None


def persistently(ask: Callable[[], _Answer], where: str) -> _Answer:
    """Return the answer of a server, and ask again while it is at fault (`ServerFault`).

    What is asked must be right even if the server had done it already.

    Raises:
        ModpmError: `rate-limited`, if the server asks to wait for longer than 30 seconds or
            still has too many requests at the end; `network-failed`, if it is still at fault.
    """
    pauses = iter(PAUSES_SECONDS)
    with waiting(where):
        while True:
            try:
                return ask()
            except ServerFault as fault:
                wait = _wait_after(fault, next(pauses, None))
                if wait is None:
                    failure = _given_up_error(fault, where)
                    break
            time.sleep(wait)
    raise failure  # not where it was caught: what a library raised may hold a token


def turns() -> Iterator[None]:
    """Give turns to a writer whom others may forestall, further and further apart, for a minute."""
    end, pause = time.monotonic() + PATIENCE_SECONDS, _FIRST_TURN_SECONDS
    while time.monotonic() < end:
        yield
        time.sleep(pause * _jitter.random())
        pause = min(2 * pause, _LONGEST_TURN_SECONDS)


def busy(where: str) -> ModpmError:
    """Return the error of a writer who had no turn of those in which others were not faster."""
    return ModpmError(
        "others change the registry all the time",
        code="busy",
        where=where,
        why=f"they were faster for {PATIENCE_SECONDS:.0f} seconds",
        hint="run the command again",
    )


def _wait_after(fault: ServerFault, pause: float | None) -> float | None:
    """Return how long to wait before the server is asked again; None if it is not worth it."""
    if pause is None or _given_up_now(fault.host) is not None:
        return None
    if _is_hurried.get() and (fault.is_unreachable or fault.is_rate_limit):
        suspect(fault)
        return None
    asked_for = fault.wait_seconds or 0.0
    wait = max(asked_for, pause * _jitter.uniform(0.5, 1.0))
    return None if asked_for > MAX_WAIT_SECONDS else wait


def _given_up_now(host: str) -> ServerFault | None:
    """Return for what a host is not waited for; a hurried request leaves others their attempts."""
    found = _given_up.get(host)
    if found is None or time.monotonic() - found.since > REST_SECONDS:
        return None
    return found.fault if found.is_tried or _is_hurried.get() else None


def _give_up(fault: ServerFault, *, is_tried: bool) -> None:
    if fault.host:
        _given_up[fault.host] = _GivenUp(time.monotonic(), fault, is_tried)


def _given_up_error(fault: ServerFault, where: str) -> ModpmError:
    if _given_up_now(fault.host) is None:
        _give_up(fault, is_tried=True)
    if not fault.is_rate_limit:
        hint = "check the connection and the address, and run the command again"
        return network_failed("the registry cannot be reached", where, fault.why, hint)
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
        from email.utils import parsedate_to_datetime  # noqa: PLC0415 -- slow to import, and rarely needed

        then = parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    then = then if then.tzinfo is not None else then.replace(tzinfo=UTC)
    return max(0.0, (then - datetime.now(UTC)).total_seconds())
