"""Reading TOML files that people and tools may have damaged."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, TypeVar

import msgspec

from modpm.core.errors import ModpmError

if TYPE_CHECKING:
    from pathlib import Path

MAX_SIZE_BYTES = 64 * 1024 * 1024

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
        return tomllib.loads(data.decode())
    except RecursionError:  # nesting is read by recursion
        raise _unreadable("it is nested too deep", path, code, hint) from None
    except ValueError as error:  # not TOML, not UTF-8, or a number of too many digits
        raise _unreadable(str(error), path, code, hint) from None


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
        return msgspec.convert(document, kind)
    except msgspec.ValidationError as error:
        raise _unreadable(str(error), path, code, hint) from None


def _unreadable(why: str, path: Path, code: str, hint: str) -> ModpmError:
    return ModpmError(
        f"`{path.name}` cannot be read",
        code=code,
        where=str(path),
        why=why[:1].lower() + why[1:],
        hint=hint,
    )
