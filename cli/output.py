"""What a user reads: data on stdout, talk on stderr, one form for every error."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Self

import click

from modpm.cli.folding import Cell, laid_out, terminal_width
from modpm.core.shown_text import Percent, Points, as_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modpm.cli.error_document import ErrorDocument, ErrorFields
    from modpm.core.errors import ModpmError

_quiet = False


def set_quiet(quiet: bool) -> None:
    """Silence `say` for the rest of the process."""
    global _quiet  # noqa: PLW0603 -- one process, one terminal
    _quiet = quiet


def is_quiet() -> bool:
    """Tell whether talk is silenced."""
    return _quiet


def _as_lines(text: str) -> str:
    """Return a text of several lines as it may be shown; only the first begins a line."""
    return "\n    ".join(map(as_text, text.split("\n")))


def emit(data: object) -> None:
    """Print data to stdout as JSON."""
    import json  # noqa: PLC0415 -- only `--json` needs it

    document = json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False)
    # No line ends within a string, and what is escaped there means the same.
    click.echo("\n".join(map(as_text, document.split("\n"))))


def show(line: str = "") -> None:
    """Print a line of data to stdout."""
    click.echo(as_text(line))


def say(text: str) -> None:
    """Tell the user something, on stderr."""
    if not _quiet:
        click.echo(as_text(text), err=True)


def warn(text: str) -> None:
    """Tell the user something that may be a problem, on stderr, also when talk is silenced."""
    click.echo(f"{click.style('warning:', fg='yellow', bold=True)} {as_text(text)}", err=True)


def warn_of(problem: ModpmError) -> None:
    """Tell of a problem that keeps the rest from nothing, as `warn` does."""
    told = [problem.what, problem.where, problem.why, problem.hint]
    warn("; ".join(text for text in told if text is not None))


def counted(n: int, noun: str, plural: str | None = None) -> str:
    """Return a number of things in words (`1 module`, `2 modules`)."""
    return f"{n} {noun}" if n == 1 else f"{n} {plural or f'{noun}s'}"


class Marked(str):
    """A text in a table that has a color, which says what it says again."""

    __slots__ = ("color",)
    color: str

    def __new__(cls, text: str, color: str) -> Self:
        """Give a text a color."""
        marked = super().__new__(cls, text)
        marked.color = color
        return marked


def table(rows: Sequence[Sequence[object]], columns: Sequence[str]) -> None:
    """Print rows to stdout in aligned columns, as wide as the terminal; numbers to the right."""
    titles = [Cell(title, "bright_black") for title in columns]
    for line in laid_out([titles, *(list(map(_cell, row)) for row in rows)], terminal_width()):
        click.echo(line)


def _cell(value: object) -> Cell:
    color = getattr(value, "color", None)
    return Cell(as_text(_in_words(value)), color, isinstance(value, int | float))


def _in_words(value: object) -> str:
    if isinstance(value, float) and not isinstance(value, Percent | Points):
        return f"{value:.4g}"
    return "-" if value is None else str(value)


def report_error(error: ModpmError, *, as_json: bool) -> None:
    """Print an error: in words on stderr, or with its fields as JSON on stdout."""
    if as_json:
        document: ErrorDocument = {"error": error_fields(error)}
        emit(document)
        return
    click.echo(f"{click.style('error:', fg='red', bold=True)} {_as_lines(error.what)}", err=True)
    for label, text in (("at", error.where), ("because", error.why)):
        if text is not None:
            click.echo(f"  {label}: {_as_lines(text)}", err=True)
    if error.hint is not None:
        click.echo(f"\n{click.style('hint:', fg='cyan')} {_as_lines(error.hint)}", err=True)


def error_fields(error: ModpmError) -> ErrorFields:
    """Return an error's fields, as JSON has them."""
    fields: ErrorFields = {
        "code": error.code,
        "what": error.what,
        "where": error.where,
        "why": error.why,
        "hint": error.hint,
    }
    derivation = getattr(error, "derivation", None)
    if derivation is not None:
        fields["derivation"] = derivation
    return fields


def is_terminal() -> bool:
    """Tell whether stderr is a terminal, where progress bars make sense."""
    return sys.stderr.isatty()
