"""The `modpm` command. What it is asked most, its version, it says before anything is imported."""

from __future__ import annotations

import gc
import sys

from modpm import __version__

TYPE_CHECKING = False  # the typing module takes longer to import than Python to start
if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 done, 1 cannot be met, 2 asked wrongly."""
    argv = sys.argv[1:] if arguments is None else list(arguments)
    if argv in (["--version"], ["-V"]):
        sys.stdout.write(f"modpm {__version__}\n")
        return 0
    if arguments is None:
        return _run_as_program(argv)
    from modpm.cli.command_line import run  # noqa: PLC0415 -- as above

    return run(argv)


def _run_as_program(argv: list[str]) -> int:
    """Run a command in a process of its own: what is imported stays, and is no garbage to look for.

    Without this, a tenth of the time of a small command goes into looking.
    """
    gc.disable()
    from modpm.cli.command_line import run  # noqa: PLC0415 -- as above

    try:
        return run(argv, _begin_looking)
    finally:
        gc.freeze()


def _begin_looking() -> None:
    gc.freeze()
    gc.enable()
