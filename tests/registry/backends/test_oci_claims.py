"""Writers agree on one claim, however what they do is mixed, and whoever crashes.

The repository here is a set of tags; each writer runs in a thread of its own, and takes its next
step only when the schedule says so.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modpm.core.formats.digest import digest_bytes
from modpm.registry.backends.oci import claims
from modpm.registry.backends.oci.claims import CLAIM_ANNOTATION, Claims
from modpm.registry.backends.oci.modelpack import record

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from modpm.registry.backends.oci.repository import Repository

KEY = "1.2"


class Crash(Exception):  # noqa: N818 - no error of the writer's
    """Ends a writer where it stands."""


class Writer:
    """One writer's view of the tags, which lets it do one thing at a time."""

    location = "oci://here"

    def __init__(self, number: int, tags: dict[str, bytes], n_steps_to_crash: int | None) -> None:
        self.candidate = digest_bytes(bytes([number]))
        self.chosen: str | None = None
        self.is_done = False
        self._tags = tags
        self._n_steps_left = n_steps_to_crash
        self._may_step, self._has_stepped = threading.Semaphore(0), threading.Semaphore(0)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def step(self) -> None:
        """Let the writer do the next thing, if it is not done."""
        if not self.is_done:
            self._may_step.release()
            self._has_stepped.acquire()

    def tags(self) -> list[str]:
        self._wait()
        return list(self._tags)

    def put_record(self, tag: str, annotations: Mapping[str, str]) -> None:
        self._wait()
        assert tag not in self._tags or tag.endswith((".late", ".closed"))
        self._tags[tag] = record(annotations)

    def manifest(self, tag: str) -> bytes | None:
        self._wait()
        return self._tags.get(tag)

    def _run(self) -> None:
        self._may_step.acquire()
        try:
            repository = cast("Repository", self)
            self.chosen = Claims(repository, KEY).choose(self.candidate)
        except Crash:
            pass
        finally:
            self.is_done = True
            self._has_stepped.release()

    def _wait(self) -> None:
        if self._n_steps_left is not None:
            self._n_steps_left -= 1
            if self._n_steps_left < 0:
                raise Crash
        self._has_stepped.release()
        self._may_step.acquire()


@pytest.fixture(autouse=True)
def without_waiting(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(claims, "_PAUSES_SECONDS", (0.0,))
    return iter(())


def run(writers: Sequence[Writer], schedule: Sequence[int]) -> set[str]:
    """Let the writers step as the schedule says, then in turn until all are done."""
    for number in schedule:
        writers[number % len(writers)].step()
    for _ in range(500):
        if all(writer.is_done for writer in writers):
            break
        for writer in writers:
            writer.step()
    assert all(writer.is_done for writer in writers)
    return {writer.chosen for writer in writers if writer.chosen is not None}


schedules = st.lists(st.integers(0, 4), max_size=60)
mixed = settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@mixed
@given(n_writers=st.integers(1, 5), schedule=schedules)
def test_all_writers_choose_one_of_their_candidates(n_writers: int, schedule: list[int]) -> None:
    tags: dict[str, bytes] = {}
    writers = [Writer(number, tags, None) for number in range(n_writers)]

    chosen = run(writers, schedule)

    assert len(chosen) == 1
    assert chosen <= {writer.candidate for writer in writers}


@mixed
@given(crashes=st.lists(st.integers(0, 7), min_size=1, max_size=4), schedule=schedules)
def test_writers_that_crash_stop_nobody(crashes: list[int], schedule: list[int]) -> None:
    tags: dict[str, bytes] = {}
    writers = [Writer(number, tags, n) for number, n in enumerate(crashes)]
    run(writers, schedule)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(claims, "TIMEOUT_SECONDS", -1.0)  # they have been silent for long enough
        chosen = run([Writer(10, tags, None)], []) | run([Writer(11, tags, None)], [])

    assert len(chosen) == 1
    assert {writer.chosen for writer in writers} <= {None, *chosen}


@mixed
@given(schedule=schedules)
def test_who_comes_later_learns_what_was_chosen(schedule: list[int]) -> None:
    tags: dict[str, bytes] = {}
    first = run([Writer(number, tags, None) for number in range(3)], schedule)

    assert run([Writer(9, tags, None)], []) == first
    assert CLAIM_ANNOTATION in str(tags[f"{KEY}.closed"])
