"""Does what a page says, in one process, so that what its commands need is imported once.

Started in the folder of a reader, it reads the blocks of code from standard input. A line of shell
has to be one command of modpm, which every shell reads as words alike.
"""

from __future__ import annotations

import json
import re
import shlex
import sys

from modpm.cli.command_line import run

_QUOTED = re.compile(r"\"[^\"$`\\]*\"|'[^']*'")
_OF_A_SHELL = re.compile(r"[$`*?~|;&<>(){}\[\]!\\\"']")


def words_of(line: str) -> list[str]:
    """Return the words of a line of shell; none for a comment.

    Raises:
        ValueError: It is no command of modpm, or shells would do something with its words.
    """
    words = shlex.split(line, comments=True)
    if words and words[0] != "modpm":
        raise ValueError(f"not a command of modpm: {line}")
    if words and _OF_A_SHELL.search(_QUOTED.sub("", line.partition(" #")[0])):
        raise ValueError(f"more than words: {line}")
    return words[1:]


def type_in(code: str) -> None:
    """Run a block of shell.

    Raises:
        RuntimeError: A command failed.
    """
    for line in code.splitlines():
        words = words_of(line)
        if words and (status := run(words)) != 0:
            raise RuntimeError(f"exit code {status}: {line}")


def main() -> None:
    """Run all blocks in their order."""
    sys.path.insert(0, "")  # as with `python -c`
    for language, code in json.load(sys.stdin):
        if language == "sh":
            type_in(code)
        else:
            exec(compile(code, "<page>", "exec"), {"__name__": "__main__"})  # noqa: S102 -- of this repository


if __name__ == "__main__":
    main()
