"""Tables in the width that there is: what does not fit stands below, and no word is broken."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from itertools import zip_longest
from typing import TYPE_CHECKING, NamedTuple

import click

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_GAP = "  "
_INDENT = "    "
_GLUE = "\xa0"
_TITLE = 12
_MIN_TEXT = 20
"""So much is left beside other columns where texts are wrapped there, and not below."""


class Cell(NamedTuple):
    """What stands in one place of a table: its text, and the color that it is shown in."""

    text: str
    color: str | None = None
    is_number: bool = False


class _Column(NamedTuple):
    number: int
    width: int
    is_right: bool

    def lines(self, cell: Cell) -> list[str]:
        """Return the text of a cell, in lines where it is wider than the column."""
        return [cell.text] if len(cell.text) <= self.width else wrapped(cell.text, self.width)

    def shown(self, text: str, color: str | None) -> str:
        """Return a line of a cell as wide as the column."""
        space = " " * (self.width - len(text))
        styled = click.style(text, fg=color) if color and text else text
        return space + styled if self.is_right else styled + space


def terminal_width() -> int | None:
    """Return how wide lines may be (`COLUMNS`, or the terminal's); None where nobody says."""
    if not (sys.stdout.isatty() or os.environ.get("COLUMNS")):
        return None
    return shutil.get_terminal_size().columns


def wrapped(text: str, width: int) -> list[str]:
    """Return a text in lines; a word that is longer than these is left whole, and so are shares."""
    glued = text.replace(" %", f"{_GLUE}%")
    lines = textwrap.wrap(glued, width, break_long_words=False, break_on_hyphens=False)
    return [line.replace(_GLUE, " ") for line in lines] or [""]


def titled(texts: Iterable[tuple[str, str]], limit: int | None) -> Iterator[str]:
    """Give lines of texts, each beside its title, or below it where a word does not fit."""
    for title, text in texts:
        begin = f"  {title:<{_TITLE}} "
        longest = _longest_word(text)
        is_below = limit is not None and longest > limit - len(begin)
        left = len(text) if limit is None else limit - len(_INDENT if is_below else begin)
        lines = wrapped(text, max(left, 1))
        if is_below:
            yield begin.rstrip()
        for i, line in enumerate(lines):
            before = _INDENT if is_below else begin if i == 0 else " " * len(begin)
            yield before + line


def laid_out(rows: Sequence[Sequence[Cell]], limit: int | None) -> Iterator[str]:
    """Give the lines of a table.

    Columns that do not fit beside those before them stand below, in lines that begin further
    right. The texts of the last one are wrapped.

    Args:
        rows: The cells; the first row has the titles.
        limit: How wide a line may be; None for any width.
    """
    groups = _grouped(list(zip(*rows, strict=True)), limit)
    for row in rows:
        for i, group in enumerate(groups):
            indent = _INDENT if i else ""
            yield from (indent + line for line in _lines(row, group))


def _lines(row: Sequence[Cell], group: Sequence[_Column]) -> Iterator[str]:
    """Give what stands in some of the columns of a row."""
    cells = [row[column.number] for column in group]
    texts = (column.lines(cell) for column, cell in zip(group, cells, strict=True))
    for line in zip_longest(*texts, fillvalue=""):
        shown = zip(group, line, cells, strict=True)
        yield _GAP.join(one.shown(text, cell.color) for one, text, cell in shown).rstrip()


def _grouped(columns: Sequence[Sequence[Cell]], limit: int | None) -> list[list[_Column]]:
    """Return the columns that stand beside each other, in groups that stand below each other."""
    groups: list[list[_Column]] = []
    used = 0
    for i, cells in enumerate(columns):
        width = max(len(cell.text) for cell in cells)
        left = width if limit is None else limit - used
        is_last = i == len(columns) - 1
        least = _least(cells) if is_last else width
        if not groups or left < min(width, least):
            groups.append([])
            used = len(_INDENT) if i else 0
            left = width if limit is None else limit - used
        taken = max(min(width, left), 1) if is_last else width
        groups[-1].append(_Column(i, taken, any(cell.is_number for cell in cells)))
        used += taken + len(_GAP)
    return groups


def _least(cells: Sequence[Cell]) -> int:
    """Return how wide a column is at least whose texts may be wrapped."""
    longest = max(_longest_word(cell.text) for cell in cells)
    return min(max(longest, _MIN_TEXT), max(len(cell.text) for cell in cells))


def _longest_word(text: str) -> int:
    return max(map(len, wrapped(text, 1)))
