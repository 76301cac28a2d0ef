from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING

import pytest

from modpm.core.errors import ModpmError
from modpm.registry.backends.retrying import (
    MAX_WAIT_SECONDS,
    PAUSES_SECONDS,
    ServerFault,
    fault_of_status,
    persistently,
)

if TYPE_CHECKING:
    from collections.abc import Callable

N_ATTEMPTS = len(PAUSES_SECONDS) + 1


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    return waits


def at_fault(n_times: int, fault: ServerFault) -> Callable[[], str]:
    faults = iter([fault] * n_times)

    def ask() -> str:
        for waiting in faults:
            raise waiting
        return "answer"

    return ask


@pytest.mark.parametrize("n_times", range(N_ATTEMPTS))
def test_a_fault_that_passes_is_not_seen(n_times: int, waits: list[float]) -> None:
    assert persistently(at_fault(n_times, ServerFault("it hung up")), "here") == "answer"

    assert len(waits) == n_times
    for wait, pause in zip(waits, PAUSES_SECONDS, strict=False):
        assert pause / 2 <= wait <= pause


def test_a_fault_that_stays_is_told(waits: list[float]) -> None:
    with pytest.raises(ModpmError) as caught:
        persistently(at_fault(N_ATTEMPTS, ServerFault("it hung up")), "here")

    assert (caught.value.code, caught.value.where) == ("network-failed", "here")
    assert caught.value.why == "it hung up"
    assert len(waits) == N_ATTEMPTS - 1


def test_a_server_that_says_when_to_come_back_is_obeyed(waits: list[float]) -> None:
    fault = fault_of_status(429, "7")
    assert fault is not None

    assert persistently(at_fault(2, fault), "here") == "answer"
    assert waits == [7.0, 7.0]


def test_a_server_that_asks_to_wait_for_too_long_is_not_waited_for(waits: list[float]) -> None:
    fault = fault_of_status(429, str(int(MAX_WAIT_SECONDS) + 1))
    assert fault is not None

    with pytest.raises(ModpmError) as caught:
        persistently(at_fault(1, fault), "here")
    assert caught.value.code == "rate-limited"
    assert "31 seconds" in str(caught.value)
    assert waits == []


def test_a_server_that_stays_busy_is_rate_limited(waits: list[float]) -> None:
    fault = fault_of_status(429)
    assert fault is not None

    with pytest.raises(ModpmError) as caught:
        persistently(at_fault(N_ATTEMPTS, fault), "here")
    assert caught.value.code == "rate-limited"
    assert len(waits) == N_ATTEMPTS - 1


def test_the_time_to_come_back_can_be_a_date() -> None:
    then = format_datetime(datetime.now(UTC) + timedelta(seconds=20), usegmt=True)
    fault = fault_of_status(429, then)
    assert fault is not None
    assert fault.wait_seconds is not None
    assert 15 < fault.wait_seconds <= 20


@pytest.mark.parametrize("text", ["soon", "", "-1", "1e9", "²"])
def test_a_time_that_cannot_be_read_is_none(text: str) -> None:
    fault = fault_of_status(429, text)
    assert fault is not None
    assert fault.wait_seconds is None


@pytest.mark.parametrize("status", [200, 301, 400, 401, 403, 404, 409, 412, 501])
def test_other_answers_are_no_faults(status: int) -> None:
    assert fault_of_status(status) is None


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_server_that_fails_is_at_fault(status: int) -> None:
    fault = fault_of_status(status)
    assert fault is not None
    assert not fault.is_rate_limit
    assert str(status) in fault.why
