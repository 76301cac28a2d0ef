"""What an operator's attribute may be; a manifest of a stranger is checked against it."""

from __future__ import annotations

import math
from collections.abc import Callable

from modpm.core.formats.network_graph import AttributeValue

LARGEST_INTEGER = 2**20
"""No size, index or count in a graph is above this (G-12)."""

LARGEST_LIST = 2**16
"""No list in a graph has more entries than this (G-12)."""

Attribute = Callable[[AttributeValue], str | None]
"""Says what is wrong with a value, or nothing."""


def real(*, minimum: float = -math.inf, maximum: float = math.inf) -> Attribute:
    """Return a finite number attribute."""

    def complaint(value: AttributeValue) -> str | None:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return f"{value!r} is not a number"
        if not math.isfinite(value) or not minimum <= value <= maximum:
            return f"{value!r} is not between {minimum} and {maximum}"
        return None

    return complaint


def integer(*, minimum: int, maximum: int = LARGEST_INTEGER) -> Attribute:
    """Return an integer attribute."""
    in_range = real(minimum=minimum, maximum=maximum)

    def complaint(value: AttributeValue) -> str | None:
        if isinstance(value, bool) or not isinstance(value, int):
            return f"{value!r} is not an integer"
        return in_range(value)

    return complaint


def integers(*, minimum: int, length: int | None = None) -> Attribute:
    """Return a list attribute of that many integers, or of any number above 0."""
    of_entry = integer(minimum=minimum)

    def complaint(value: AttributeValue) -> str | None:
        if not isinstance(value, list):
            return f"{value!r} is not a list"
        if len(value) != (length or len(value)) or not 1 <= len(value) <= LARGEST_LIST:
            return f"a list of {len(value)} integers, not of {length or 'one or more'}"
        return next(filter(None, map(of_entry, value)), None)

    return complaint


def flag() -> Attribute:
    """Return a true or false attribute."""
    return lambda value: None if isinstance(value, bool) else f"{value!r} is neither true nor false"


def choice(*choices: str) -> Attribute:
    """Return an attribute that is one of some words."""
    return lambda value: None if value in choices else f"{value!r} is not in {choices}"


POSITIVE = integer(minimum=1)
PAIR = integers(minimum=1, length=2)  # height and width
NATURAL_PAIR = integers(minimum=0, length=2)
NUMBER = real()
FRACTION = real(minimum=0.0, maximum=1.0)
