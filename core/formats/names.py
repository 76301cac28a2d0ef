"""The name of a module: `namespace/name`, normalized like the name of a Python project."""

from __future__ import annotations

import re

import msgspec

from modpm.core.errors import ModpmError

MAX_PART_LENGTH = 64

_PART = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_SEPARATORS = re.compile(r"[-_.]+")
_RESERVED = re.compile(r"con|prn|aux|nul|(com|lpt)[0-9]")
"""Devices on Windows, in every folder: no folder of a module can be called so there (N-3)."""


class ModuleName(msgspec.Struct, frozen=True, order=True):
    """A namespace and a name within it, both normalized.

    `str` and `parse` are inverse of each other. Construct it by `parse`: that is where text
    from outside is checked, so that a `ModuleName` can be used in a path or an address.
    """

    namespace: str
    name: str

    @classmethod
    def parse(cls, text: str, where: str | None = None) -> ModuleName:
        """Read `namespace/name`.

        Args:
            text: What a user or a file says.
            where: The file it stands in; None for the command line.

        Raises:
            ModpmError: `invalid-name`, if it is not two parts of ASCII letters, digits and
                inner `-`, `_` and `.`, each of at most 64 characters and no device of Windows.
        """
        namespace, slash, name = text.partition("/")
        if not slash:
            raise _invalid(text, "it has no namespace", where)
        return cls(normalize(namespace, text, where), normalize(name, text, where))

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


def normalize(part: str, text: str | None = None, where: str | None = None) -> str:
    """Return one part of a name in its normal form: lower case, one `-` for runs of `-_.`.

    Args:
        part: A namespace, or a name within one.
        text: The whole name that it is a part of, for the error.
        where: The file it stands in; None for the command line.

    Source: the normalized names of Python projects (PEP 503).

    Raises:
        ModpmError: `invalid-name`.
    """
    whole = part if text is None else text
    if not part:
        raise _invalid(whole, "a part of it is empty", where)
    if len(part) > MAX_PART_LENGTH:
        raise _invalid(whole, f"a part of it is longer than {MAX_PART_LENGTH} characters", where)
    if _PART.fullmatch(part) is None:
        raise _invalid(
            whole,
            f"{part!r} does not begin and end with a letter or digit, or has "
            "other characters than ASCII letters, digits, `-`, `_` and `.`",
            where,
        )
    normal = _SEPARATORS.sub("-", part).lower()
    if is_reserved(normal):
        raise _invalid(whole, f"`{normal}` is a device on Windows, and no folder there", where)
    return normal


def is_reserved(part: str) -> bool:
    """Tell whether a part in its normal form is a name that no folder can have on Windows."""
    return _RESERVED.fullmatch(part) is not None


def _invalid(text: str, why: str, where: str | None) -> ModpmError:
    # A name on the command line was asked wrongly; one in a file makes the file unusable.
    return ModpmError(
        f"`{text[:200]}` is not a module name",
        code="invalid-name",
        where=where,
        why=why,
        hint="write `namespace/name`, such as `cifar10/cat`",
        exit_code=2 if where is None else 1,
    )
