"""Reading TOML files that people and tools may have damaged."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import msgspec

from modpm.core.errors import ModpmError
from modpm.core.formats.records import convert

if TYPE_CHECKING:
    from pathlib import Path

MAX_SIZE_BYTES = 64 * 1024 * 1024
MAX_KEY_PARTS = 64

# Reading a key takes time that grows with the square of its parts. Possessive, so that each byte
# is looked at once.
_LONG_KEY = (
    rb"""(?<![\w-])(?:(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){%d}""" % MAX_KEY_PARTS
)
_INT64_MIN, _INT64_MAX = -(2**63), 2**63 - 1

T = TypeVar("T")


class TomlFile(NamedTuple):
    """A TOML file, and the code and hint of the error where it cannot be read."""

    path: Path
    code: str
    hint: str

    def parse(self, data: bytes) -> dict[str, object]:
        """Read the document.

        Raises:
            ModpmError: `code` or `too-large`.
        """
        if len(data) > MAX_SIZE_BYTES:
            raise ModpmError(
                f"`{self.path.name}` has {len(data)} bytes; at most {MAX_SIZE_BYTES} are read",
                code="too-large",
                where=str(self.path),
                hint=self.hint,
            )
        # No key goes on in another line, and few lines have so many dots.
        if not data:
            return {}
        import tomllib  # noqa: PLC0415 -- a new project has none

        has_dots = any(line.count(b".") >= MAX_KEY_PARTS for line in data.split(b"\n"))
        if has_dots and re.search(_LONG_KEY, data) is not None:
            raise self.unreadable(f"a key has more than {MAX_KEY_PARTS} parts")
        try:
            document = tomllib.loads(data.decode())
            _check_numbers(document)
        except RecursionError:  # nesting is read by recursion
            raise self.unreadable("it is nested too deep") from None
        except ValueError as error:  # not TOML, not UTF-8, or a number of too many digits
            raise self.unreadable(str(error)) from None
        return document

    def convert(self, kind: type[T], document: dict[str, object]) -> T:
        """Make a msgspec type of the document.

        Raises:
            ModpmError: `code`.
        """
        try:
            return convert(document, kind)
        except msgspec.ValidationError as error:
            raise self.unreadable(str(error)) from None

    def unreadable(self, why: str, part: str | None = None) -> ModpmError:
        """Return the error of the file, or of a part of it that has a name."""
        return ModpmError(
            f"`{self.path.name}` cannot be read",
            code=self.code,
            where=", ".join(filter(None, (str(self.path), part))),
            why=why[:1].lower() + why[1:],
            hint=self.hint,
        )


def _check_numbers(document: object) -> None:
    """Refuse what TOML does: a longer number could not even be printed."""
    waiting = [document]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
        elif isinstance(value, int) and not _INT64_MIN <= value <= _INT64_MAX:
            raise ValueError("a number needs more than 64 bits")


def toml_string(text: str) -> str:
    """Return a TOML basic string; its escapes are those of JSON, and one more."""
    return msgspec.json.encode(text).decode().replace("\x7f", "\\u007f")
