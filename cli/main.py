"""The `modpm` command. What it is asked most, its version, it says before anything is imported."""

from __future__ import annotations

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
    from modpm.cli.command_line import run  # noqa: PLC0415 -- as above

    return run(argv)
