"""Reading TOML files that people and tools may have damaged."""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING, TypeVar

import msgspec

from modpm.core.errors import ModpmError
from modpm.core.formats.records import convert

if TYPE_CHECKING:
    from pathlib import Path

MAX_SIZE_BYTES = 64 * 1024 * 1024
MAX_KEY_PARTS = 64

# Reading a key takes time that grows with the square of its parts. Possessive, so that each byte
# is looked at once.
_LONG_KEY = re.compile(
    rb"""(?<![\w-])(?:(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){%d}""" % MAX_KEY_PARTS
)
_INT64_MIN, _INT64_MAX = -(2**63), 2**63 - 1

T = TypeVar("T")


def parse_toml(data: bytes, *, path: Path, code: str, hint: str) -> dict[str, object]:
    """Read a TOML document.

    Args:
        data: The document.
        path: The file it is, for errors.
        code: The code of the error.
        hint: How to mend the file.

    Raises:
        ModpmError: `code` or `too-large`.
    """
    if len(data) > MAX_SIZE_BYTES:
        raise ModpmError(
            f"`{path.name}` has {len(data)} bytes; at most {MAX_SIZE_BYTES} are read",
            code="too-large",
            where=str(path),
            hint=hint,
        )
    try:
        _check_keys(data)
        document = tomllib.loads(data.decode())
        _check_numbers(document)
    except RecursionError:  # nesting is read by recursion
        raise _unreadable("it is nested too deep", path, code, hint) from None
    except ValueError as error:  # not TOML, not UTF-8, or a number of too many digits
        raise _unreadable(str(error), path, code, hint) from None
    return document


def convert_toml(
    kind: type[T], document: dict[str, object], *, path: Path, code: str, hint: str
) -> T:
    """Make a msgspec type of a TOML document.

    Args:
        kind: The type.
        document: What `parse_toml` gave.
        path: As for `parse_toml`.
        code: As for `parse_toml`.
        hint: As for `parse_toml`.

    Raises:
        ModpmError: `code`.
    """
    try:
        return convert(document, kind)
    except msgspec.ValidationError as error:
        raise _unreadable(str(error), path, code, hint) from None


def _check_keys(data: bytes) -> None:
    if _LONG_KEY.search(data) is not None:
        raise ValueError(f"a key has more than {MAX_KEY_PARTS} parts")


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


def _unreadable(why: str, path: Path, code: str, hint: str) -> ModpmError:
    return ModpmError(
        f"`{path.name}` cannot be read",
        code=code,
        where=str(path),
        why=why[:1].lower() + why[1:],
        hint=hint,
    )
