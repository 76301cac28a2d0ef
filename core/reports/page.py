"""A page in one file: text, tables and pictures, without a script or anything from elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modpm.core.reports.pictures import shown
from modpm.core.shown_text import Percent, Points

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }
body { max-width: 64rem; margin: 0 auto; padding: 1.5rem clamp(1rem, 4vw, 2.5rem) 4rem;
  overflow-wrap: anywhere }
h1 { font-size: 1.7rem; line-height: 1.2 } h2 { font-size: 1.15rem; margin-top: 2.5rem }
p { max-width: 44rem } .scrolls { overflow-x: auto }
table { border-collapse: collapse; font-size: .9rem }
th, td { text-align: left; padding: .35rem .8rem .35rem 0; border-bottom: 1px solid #8884 }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
"""

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


class Page:
    """A page that is written from top to bottom; whatever it is given is shown as text.

    Args:
        title: Of it.
    """

    def __init__(self, title: str) -> None:
        self._title = shown(title)
        self._parts = [f"<h1>{self._title}</h1>"]

    def section(self, title: str) -> None:
        """Begin a section."""
        self._parts.append(f"<h2>{shown(title)}</h2>")

    def say(self, *sentences: str) -> None:
        """Add sentences, a paragraph each."""
        self._parts += [f"<p>{shown(sentence)}</p>" for sentence in sentences]

    def picture(self, picture: str) -> None:
        """Add a picture as `modpm.core.reports.pictures` draws it."""
        self._parts.append(f'<div class="scrolls" tabindex="0">{picture}</div>')

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Add a table."""
        body = [[_cell(value) for value in row] for row in rows]
        head = "".join(f'<th scope="col">{shown(name)}</th>' for name in columns)
        lines = "".join(f"<tr>{''.join(row)}</tr>\n" for row in body)
        self._parts.append(
            f'<div class="scrolls" tabindex="0"><table><thead><tr>{head}</tr></thead>'
            f"<tbody>\n{lines}</tbody></table></div>"
        )

    def __str__(self) -> str:
        """Return the document."""
        body = "\n".join(self._parts)
        return (
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>{self._title}</title><style>{_STYLE}</style></head>\n"
            f"<body><main>\n{body}\n</main></body></html>\n"
        )


def _cell(value: object) -> str:
    if not isinstance(value, int | float):
        return f"<td>{shown(str(value))}</td>"
    if isinstance(value, float) and not isinstance(value, Percent | Points):
        return f'<td class="number">{value:.4g}</td>'
    return f'<td class="number">{f"{value:,}" if isinstance(value, int) else value}</td>'
