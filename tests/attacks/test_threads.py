"""Threads: what several do at once for the first time must not end the process."""

from __future__ import annotations

import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import msgspec

from modpm.core.formats.records import convert

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

N_RUNS = 20
"""Each of which died with a probability of about a fifth."""

FIRST_READS = """
import sys, threading
from pathlib import Path

sys.setswitchinterval(1e-7)  # only makes the race likely: publishing two distributions meets it
from modpm.core.formats import canonical_json
from modpm.core.formats.composition_manifest import manifest_of_json

raw = canonical_json.decode(Path("specs/vectors/distribution/digits-7/manifest.json").read_bytes())
start = threading.Barrier(8)

def read():
    start.wait()
    manifest_of_json(raw, "manifest.json")

threads = [threading.Thread(target=read) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


def test_first_reads_of_manifests_in_several_threads_do_not_kill_the_process(
    repository: Path,
) -> None:
    for _ in range(N_RUNS):
        done = subprocess.run([sys.executable, "-c", FIRST_READS], cwd=repository, check=False)
        assert done.returncode == 0


class Inner(msgspec.Struct):
    """What two types hold."""

    value: int


class One(msgspec.Struct):
    """A type that holds another."""

    inner: Inner


class Other(msgspec.Struct):
    """One more that holds the same."""

    inner: list[Inner]


def test_one_thread_at_a_time_lets_a_type_be_built(monkeypatch: pytest.MonkeyPatch) -> None:
    pause, start = threading.Event(), threading.Barrier(6)
    built: list[object] = []
    read_as: list[object] = []
    at_once, most_at_once = 0, 0
    decoder = msgspec.json.Decoder  # noqa: TID251 -- it is watched

    def slow_decoder(kind: object) -> object:
        nonlocal at_once, most_at_once
        at_once += 1
        most_at_once = max(most_at_once, at_once)
        pause.wait(0.05)  # long enough for the others to come in, if they could
        built.append(kind)
        at_once -= 1
        return decoder(kind)

    monkeypatch.setattr("msgspec.json.Decoder", slow_decoder)

    def read(raw: object, kind: type) -> None:
        start.wait()
        read_as.append(convert(raw, kind))

    inner = {"value": 1}
    jobs = [({"inner": inner}, One), ({"inner": [inner]}, Other), (inner, Inner)] * 2
    threads = [threading.Thread(target=read, args=job) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert most_at_once == 1
    assert {One, Other, Inner} <= set(built)
    assert len(read_as) == len(jobs)
