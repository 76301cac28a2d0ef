"""Processes that work on one registry at once.

Run as a program in the environment that the registry needs: jobs come in as JSON, outcomes go
out. Everything is imported once, and one process is forked for each job; all begin together.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import traceback
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec

from modpm.core.errors import ModpmError
from modpm.core.formats.distribution import read_distribution
from modpm.core.formats.names import ModuleName
from modpm.registry.backends import opening

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.registry.backends.kinds.kind import Access

    from modpm.registry.index import Index

TIMEOUT_SECONDS = 60


def publish_at_once(access: Access, folders: Sequence[Path]) -> list[str]:
    """Publish each distribution from a process of its own.

    Returns:
        For each, `published`, `already published`, or the code of the error.
    """
    return _run(access, [{"publish": str(folder)} for folder in folders])


def tag_at_once(access: Access, module: str, version: str, tags: Sequence[str]) -> list[str]:
    """Set each tag from a process of its own; for each, `changed` or the code of the error."""
    jobs = [{"module": module, "version": version, "tag": tag} for tag in tags]
    return _run(access, jobs)


def _run(access: Access, jobs: Sequence[dict[str, str]]) -> list[str]:
    process = subprocess.run(
        [sys.executable, __file__],
        input=json.dumps({"url": access.url, "jobs": jobs}),
        env={**os.environ, **access.environment},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    outcomes = json.loads(process.stdout)
    assert "crashed" not in outcomes, process.stderr
    return [str(outcome) for outcome in outcomes]


def _with_tag(index: Index, tag: str, version: str) -> Index:
    return msgspec.structs.replace(index, tags={**index.tags, tag: version})


def _outcome(url: str, job: dict[str, str]) -> str:
    try:
        backend = opening.open_backend(url)
        if "publish" in job:
            (published,) = backend.publish([read_distribution(Path(job["publish"]))])
            return "published" if published.is_new else "already published"
        change = partial(_with_tag, tag=job["tag"], version=job["version"])
        backend.change(ModuleName.parse(job["module"]), change)
    except ModpmError as error:
        print(error, file=sys.stderr)  # noqa: T201 - shown if the test fails
        return error.code
    return "changed"


def _fork(url: str, job: dict[str, str], start: tuple[int, int]) -> int:
    """Fork a process that begins when `start` is closed; return where its outcome is read."""
    reader, writer = os.pipe()
    if os.fork():
        os.close(writer)
        return reader
    outcome = "crashed"
    try:
        os.close(start[1])
        os.read(start[0], 1)
        outcome = _outcome(url, job)
    except BaseException:
        traceback.print_exc()
        raise
    finally:
        os.write(writer, outcome.encode())
        sys.stderr.flush()
        os._exit(0)


def _read(reader: int) -> str:
    with os.fdopen(reader) as file:
        return file.read()


def _main() -> None:
    order = json.load(sys.stdin)
    kind = opening._KINDS.get(urlsplit(order["url"]).scheme)
    if kind is not None:
        import_module(f"modpm.registry.backends.{kind.partition('.')[0]}")
    start = os.pipe()
    readers = [_fork(order["url"], job, start) for job in order["jobs"]]
    os.close(start[1])
    json.dump([_read(reader) for reader in readers], sys.stdout)


if __name__ == "__main__":
    _main()
