"""Locks where the file system has none, and what is said to whoever waits for one."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from modpm.cli.main import main
from modpm.core.errors import ModpmError
from modpm.core.system import durable, waiting
from modpm.core.system.durable import locked
from modpm.registry.installing.installation import install, sync
from modpm.registry.storage.caching import prune
from modpm.registry.storage.store import Store

if TYPE_CHECKING:
    from pathlib import Path

    from tests.registry.conftest import Put

ANSWERS = ["ENOSYS", "ENOTSUP", "EINVAL", "ENOLCK"]
"""What file systems answer that have no flock."""

HOLDER = """
import sys
from pathlib import Path
from modpm.core.system.durable import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.readline()
"""


def refuse_flock(monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    code = getattr(errno, answer)

    def flock(_descriptor: int, _operation: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", flock)


@pytest.mark.parametrize("answer", ANSWERS)
def test_verbs_work_at_once_where_the_file_system_has_no_flock(
    tmp_path: Path, put: Put, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    refuse_flock(monkeypatch, answer)
    start = time.monotonic()
    put("digits/7")
    project = tmp_path / "project"
    project.mkdir()
    install(["digits/7"], project, tmp_path / "registry")
    assert [str(module.name) for module in sync(project).modules] == ["digits/7"]
    prune()
    assert time.monotonic() - start < waiting.PATIENCE_SECONDS
    assert not list(tmp_path.rglob("*.held"))


def test_a_lock_excludes_others_where_the_file_system_has_no_flock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_flock(monkeypatch, "ENOTSUP")
    monkeypatch.setattr(durable, "LOCK_TIMEOUT_SECONDS", 0.2)
    lock = tmp_path / ".lock"
    with locked(lock), pytest.raises(ModpmError) as refused, locked(lock):
        pass
    assert refused.value.code == "busy"
    assert f"process {os.getpid()} on " in str(refused.value.why)
    assert ".lock.held" in str(refused.value.hint)
    with locked(lock):
        pass  # it was given back


def test_pruning_waits_for_whoever_takes_files_where_the_file_system_has_no_flock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_flock(monkeypatch, "ENOSYS")
    monkeypatch.setattr(durable, "LOCK_TIMEOUT_SECONDS", 0.2)
    store = Store(tmp_path / "blobs")
    with store.in_use(), pytest.raises(ModpmError) as refused, store.unused():
        pass
    assert refused.value.code == "busy"
    with store.unused():
        pass


@pytest.mark.parametrize("is_quiet", [False, True])
def test_whoever_waits_for_a_lock_is_told_for_which_process(
    tmp_path: Path,
    put: Put,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    is_quiet: bool,
) -> None:
    put("digits/7")
    project = tmp_path / "project"
    project.mkdir()
    monkeypatch.setattr(durable, "PATIENCE_SECONDS", 0.2)
    monkeypatch.setattr(durable, "LOCK_TIMEOUT_SECONDS", 0.5)
    lock = project / ".modpm" / ".lock"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(lock)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        capsys.readouterr()
        quiet = ["--quiet"] if is_quiet else []
        asked = ["digits/7", "--project", str(project), "--registry", str(tmp_path / "registry")]
        assert main(["install", *quiet, *asked]) == 1
        holder.kill()
    told = capsys.readouterr().err
    assert "another process is at work here" in told
    waited = f"waiting for process {holder.pid}, which works in {lock.parent}"
    assert (waited in told) is not is_quiet
