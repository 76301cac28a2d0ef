"""What a user reads: data on stdout, talk on stderr, one form for every error."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import click

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


def emit(data: object) -> None:
    """Print data to stdout as JSON."""
    click.echo(json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False))


def say(text: str) -> None:
    """Tell the user something, on stderr."""
    if not _quiet:
        click.echo(text, err=True)


def warn(text: str) -> None:
    """Tell the user something that may be a problem, on stderr, also when talk is silenced."""
    click.echo(f"{click.style('warning:', fg='yellow', bold=True)} {text}", err=True)


def counted(n: int, noun: str, plural: str | None = None) -> str:
    """Return a number of things in words (`1 module`, `2 modules`)."""
    return f"{n} {noun}" if n == 1 else f"{n} {plural or f'{noun}s'}"


def table(rows: Sequence[Sequence[object]], columns: Sequence[str]) -> None:
    """Print rows to stdout in aligned columns; numbers to the right."""
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max(len(line[i]) for line in [list(columns), *cells]) for i in range(len(columns))]
    is_number = [bool(rows) and isinstance(rows[0][i], int | float) for i in range(len(columns))]
    for line in [list(columns), *cells]:
        padded = [
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(line, widths, is_number, strict=True)
        ]
        click.echo("  ".join(padded).rstrip())


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "-" if value is None else str(value)


def report_error(error: ModpmError, *, as_json: bool) -> None:
    """Print an error: in words on stderr, or with its fields as JSON on stdout."""
    if as_json:
        emit(_document(error))
        return
    click.echo(f"{click.style('error:', fg='red', bold=True)} {error.what}", err=True)
    for label, text in (("at", error.where), ("because", error.why)):
        if text is not None:
            click.echo(f"  {label}: {_indented(text)}", err=True)
    if error.hint is not None:
        click.echo(f"\n{click.style('hint:', fg='cyan')} {error.hint}", err=True)


def _document(error: ModpmError) -> ErrorDocument:
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
    return {"error": fields}


def _indented(text: str) -> str:
    return text.replace("\n", "\n    ")


def is_terminal() -> bool:
    """Tell whether stderr is a terminal, where progress bars make sense."""
    return sys.stderr.isatty()
