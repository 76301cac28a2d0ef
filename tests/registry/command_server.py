"""Running `modpm` in processes that can be killed, without waiting for each to start.

This file is also the server itself: a process that has imported everything forks one child for
each command, and kills the child where it is told to. What a killed child has left behind is what
the same command would leave if it was started anew, and the moments are those of its work.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, NamedTuple, Self

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from types import TracebackType


class Outcome(NamedTuple):
    """How a command ended.

    Attributes:
        code: Its exit code; None if it was killed.
        seconds: How long it ran.
        output: What it printed to stdout and stderr.
    """

    code: int | None
    seconds: float
    output: str


class CommandServer:
    """Runs `modpm` in children of one process.

    Args:
        folder: For what commands print.
        prefix: A command that starts the server with less rights.
    """

    def __init__(self, folder: Path, prefix: Sequence[str] = ()) -> None:
        self._output = folder / "output"
        self._command = [*prefix, sys.executable, __file__]

    def __enter__(self) -> Self:
        pipe = subprocess.PIPE
        self._server = subprocess.Popen(self._command, stdin=pipe, stdout=pipe, text=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: object, traceback: TracebackType | None
    ) -> None:
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.close()
        self._server.stdout.close()
        self._server.wait()

    def run(
        self, *arguments: str | Path, cwd: Path, kill_after_seconds: float | None = None
    ) -> Outcome:
        """Run a command, and kill it if it takes longer than it may."""
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        output = str(self._output)
        order = [list(map(str, arguments)), str(cwd), output, kill_after_seconds]
        self._server.stdin.write(json.dumps(order) + "\n")
        self._server.stdin.flush()
        code, seconds = json.loads(self._server.stdout.readline())
        return Outcome(code, seconds, self._output.read_text())


def serve() -> None:
    """Run the commands that come in by stdin, one a line, and answer how each ended."""
    _import_everything()
    # No power fails during a test, and a busy disk takes long; the order of writes is the same.
    os.fsync = lambda _descriptor: None  # type: ignore[assignment]  # no disk is waited for
    for line in sys.stdin:
        arguments, folder, output, kill_after_seconds = json.loads(line)
        started = time.perf_counter()
        child = os.fork()
        if child == 0:
            _run(arguments, folder, output)
        code = _wait(child, kill_after_seconds)
        print(json.dumps([code, time.perf_counter() - started]), flush=True)  # noqa: T201 - the answer


def _import_everything() -> None:
    import concurrent.futures.thread  # noqa: PLC0415, F401 - a child need not import it
    from importlib import import_module  # noqa: PLC0415 -- the same
    from importlib.util import find_spec  # noqa: PLC0415 -- the same

    import tomlkit  # noqa: PLC0415, F401 - as above

    modules = [
        "cli.main",
        "cli.command_line",
        "cli.install",
        "cli.publish",
        "cli.sync",
        "registry.installing.trust",
    ]
    if find_spec("obstore") is not None:
        modules.append("registry.backends.object_store")
    for module in modules:
        if find_spec(f"modpm.{module}") is not None:
            import_module(f"modpm.{module}")


def _run(arguments: Sequence[str], folder: str, output: str) -> None:
    from modpm.cli.main import main  # noqa: PLC0415 - it is imported already

    code = 70
    try:
        file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(file, 1)
        os.dup2(file, 2)
        os.chdir(folder)
        code = main(arguments)
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _wait(child: int, kill_after_seconds: float | None) -> int | None:
    """Return the exit code of a child; None if it had to be killed."""
    ending = os.pidfd_open(child)
    try:
        if not select.select([ending], [], [], kill_after_seconds)[0]:
            os.kill(child, signal.SIGKILL)
    finally:
        os.close(ending)
    status = os.waitpid(child, 0)[1]
    return None if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


if __name__ == "__main__":
    serve()
