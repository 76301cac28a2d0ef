"""What an operator's attribute may be; a manifest of a stranger is checked against it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modpm.core.formats.network_graph import AttributeValue

LARGEST_INTEGER = 2**20
"""No size, index or count in a graph is above this (G-12)."""

LARGEST_LIST = 2**16
"""No list in a graph has more entries than this (G-12)."""


@dataclass(frozen=True)
class Attribute:
    """The kind and range of one attribute.

    Attributes:
        kind: `integer`, `integers`, `real`, `flag` or `choice`.
        minimum: The least allowed number, of each entry in a list.
        maximum: The largest allowed number.
        length: How many entries a list has, or None for one or more.
        choices: What a string may be.
    """

    kind: str
    minimum: float = -math.inf
    maximum: float = math.inf
    length: int | None = None
    choices: tuple[str, ...] = ()

    def complaint(self, value: AttributeValue) -> str | None:
        """Say what is wrong with a value, or return None."""
        match self.kind:
            case "flag":
                return None if isinstance(value, bool) else f"{value!r} is neither true nor false"
            case "choice":
                return None if value in self.choices else f"{value!r} is not in {self.choices}"
            case "integer":
                return self._complaint_of_integer(value)
            case "integers":
                return self._complaint_of_list(value)
            case _:
                return self._complaint_of_number(value)

    def _complaint_of_number(self, value: object) -> str | None:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return f"{value!r} is not a number"
        if not math.isfinite(value) or not self.minimum <= value <= self.maximum:
            return f"{value!r} is not between {self.minimum} and {self.maximum}"
        return None

    def _complaint_of_integer(self, value: object) -> str | None:
        if isinstance(value, bool) or not isinstance(value, int):
            return f"{value!r} is not an integer"
        return self._complaint_of_number(value)

    def _complaint_of_list(self, value: AttributeValue) -> str | None:
        if not isinstance(value, list):
            return f"{value!r} is not a list"
        if len(value) != (self.length or len(value)) or not 1 <= len(value) <= LARGEST_LIST:
            return f"a list of {len(value)} integers, not of {self.length or 'one or more'}"
        return next(filter(None, map(self._complaint_of_integer, value)), None)


def integer(*, minimum: int) -> Attribute:
    """Return an integer attribute."""
    return Attribute("integer", minimum=minimum, maximum=LARGEST_INTEGER)


def integers(*, minimum: int, length: int | None = None) -> Attribute:
    """Return a list attribute of that many integers, or of any number above 0."""
    return Attribute("integers", minimum=minimum, maximum=LARGEST_INTEGER, length=length)


def pair(*, minimum: int) -> Attribute:
    """Return an attribute for height and width."""
    return integers(minimum=minimum, length=2)


def real(*, minimum: float = -math.inf, maximum: float = math.inf) -> Attribute:
    """Return a finite number attribute."""
    return Attribute("real", minimum=minimum, maximum=maximum)


def flag() -> Attribute:
    """Return a true or false attribute."""
    return Attribute("flag")


def choice(*choices: str) -> Attribute:
    """Return an attribute that is one of some words."""
    return Attribute("choice", choices=choices)


POSITIVE = integer(minimum=1)
PAIR = pair(minimum=1)
NATURAL_PAIR = pair(minimum=0)
NUMBER = real()
FRACTION = real(minimum=0.0, maximum=1.0)
