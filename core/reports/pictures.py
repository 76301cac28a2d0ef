"""Pictures as SVG: grids of shares, curves, and how reliable scores are.

Each is a document of its own, which a page may hold as it is. What others wrote, such as names of
classes, is text in it and nothing else. Lines and letters have the color of the text around them.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, NamedTuple

from modpm.core.shown_text import as_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

LARGEST_SIDE = 60
"""Rows or columns of a grid that are drawn: more would be no picture, and no small file."""

_CELL, _SMALL_CELL, _FEW = 34, 16, 16
_LETTER, _LONGEST = 6.2, 28
_TURN = 0.5  # of a letter, along the edge, of one that is turned by 60 degrees
_DARK = 0.55  # shares from which letters on them are white
_STYLE = 'font-family="system-ui, sans-serif" font-size="11" fill="currentColor"'
_INK = "#3451b2"
_COLORS = ("#3451b2", "#c2571a", "#2f7d4f", "#8a3ea8", "#b3261e", "#5b616e")


def shown(text: str) -> str:
    """Return a text of whoever wrote it as it may stand in a page, as text."""
    return escape(as_text(text))


def grid(
    values: Sequence[Sequence[float]], rows: Sequence[str], columns: Sequence[str], title: str
) -> str:
    """Draw shares as a grid with names; of many, the first.

    Args:
        values: Each in [0, 1]; a row each.
        rows: What they are called.
        columns: The same of the columns.
        title: What it is, for those who cannot see it too.
    """
    names, heads = _short(rows), _short(columns)
    is_small = max(len(names), len(heads)) > _FEW
    side = _SMALL_CELL if is_small else _CELL
    left = _width(names) + 10
    top = _width(heads) * 0.87 + 16
    width = left + side * len(heads) + _width(heads[-1:]) * _TURN + 4
    parts = [
        f'<text x="{left - 6:.0f}" y="{top + side * i + side / 2 + 4:.0f}" text-anchor="end">'
        f"{shown(name)}</text>"
        for i, name in enumerate(names)
    ]
    for j, name in enumerate(heads):
        x = left + side * (j + 0.5)
        parts.append(f'<text transform="translate({x:.0f} {top - 6:.0f}) rotate(-60)">'
                     f"{shown(name)}</text>")  # fmt: skip
    for i, name in enumerate(names):
        for j, head in enumerate(heads):
            at = left + side * j, top + side * i
            parts += _cell(float(values[i][j]), at, side, f"{name}, {head}", is_small=is_small)
    return _drawn(parts, width, top + side * len(names) + 4, title)


def _cell(
    value: float, at: tuple[float, float], side: int, what: str, *, is_small: bool
) -> Iterator[str]:
    x, y = at
    yield (
        f'<rect x="{x:.0f}" y="{y:.0f}" width="{side - 1}" height="{side - 1}" fill="{_INK}" '
        f'fill-opacity="{min(1.0, 0.04 + 0.96 * value):.3f}"><title>{shown(what)}: {value:.3f}'
        "</title></rect>"
    )
    if not is_small:
        color = ' fill="#fff"' if value > _DARK else ""
        yield (
            f'<text x="{x + side / 2 - 0.5:.1f}" y="{y + side / 2 + 3:.0f}" font-size="9.5" '
            f'text-anchor="middle"{color}>{value:.2f}</text>'
        )


class Line(NamedTuple):
    """One curve.

    Attributes:
        name: What it shows.
        points: Where it is: x and y.
    """

    name: str
    points: Sequence[tuple[float, float]]


_PLOT_WIDTH, _PLOT_HEIGHT, _MARGIN = 420, 220, 44


def curves(lines: Sequence[Line], title: str, x_name: str) -> str:
    """Draw curves over what they share.

    Args:
        lines: With a point each, at least.
        title: What it is.
        x_name: What they are drawn over.
    """
    points = [point for line in lines for point in line.points]
    (x_low, x_high), (y_low, y_high) = (_range([one[i] for one in points]) for i in (0, 1))

    def place(point: tuple[float, float]) -> str:
        x = _MARGIN + _PLOT_WIDTH * (point[0] - x_low) / (x_high - x_low)
        y = 8 + _PLOT_HEIGHT * (y_high - point[1]) / (y_high - y_low)
        return f"{x:.1f},{y:.1f}"

    right = _MARGIN + _PLOT_WIDTH + 14
    parts = [*_frame((x_low, x_high), (y_low, y_high), x_name)]
    for i, line in enumerate(lines):
        color = _COLORS[i % len(_COLORS)]
        path = " ".join(map(place, line.points))
        end = place(line.points[-1]).split(",")
        y = 14 + 16 * i
        parts += [
            f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="1.8"/>',
            f'<circle cx="{end[0]}" cy="{end[1]}" r="2.4" fill="{color}"/>',
            f'<rect x="{right}" y="{y - 8}" width="12" height="4" fill="{color}"/>',
            f'<text x="{right + 18}" y="{y}">{shown(line.name)}</text>',
        ]
    width = _MARGIN + _PLOT_WIDTH + 40 + _width([line.name for line in lines])
    return _drawn(parts, width, max(_PLOT_HEIGHT + 44, 16 * len(lines) + 20), title)


def _frame(x: tuple[float, float], y: tuple[float, float], x_name: str) -> Iterator[str]:
    right, bottom = _MARGIN + _PLOT_WIDTH, 8 + _PLOT_HEIGHT
    yield (
        f'<path d="M{_MARGIN} 8V{bottom}H{right}" fill="none" stroke="currentColor" '
        'stroke-opacity=".4"/>'
    )
    for text, at_x, at_y, anchor in (
        (f"{y[1]:.3g}", _MARGIN - 6, 14, "end"),
        (f"{y[0]:.3g}", _MARGIN - 6, bottom, "end"),
        (f"{x[0]:.3g}", _MARGIN, bottom + 16, "middle"),
        (f"{x[1]:.3g}", right, bottom + 16, "middle"),
        (x_name, (_MARGIN + right) / 2, bottom + 16, "middle"),
    ):
        yield f'<text x="{at_x:.0f}" y="{at_y}" text-anchor="{anchor}">{shown(text)}</text>'


def _range(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def reliability(bins: Sequence[tuple[float, float, int]], title: str) -> str:
    """Draw which share of images shows a class, over how likely scores say it is.

    Args:
        bins: Mean of what is said, share that is so, and of how many; a point each.
        title: What it is.
    """
    ideal = Line("as often as is said", [(0.0, 0.0), (1.0, 1.0)])
    found = Line("found", [(said, so) for said, so, _ in bins])
    return curves([ideal, found], title, "probability that is said")


def _short(names: Sequence[str]) -> list[str]:
    """Return names that fit beside a grid, and as many as are drawn."""
    return [
        name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}\N{HORIZONTAL ELLIPSIS}"
        for name in names[:LARGEST_SIDE]
    ]


def _width(names: Sequence[str]) -> float:
    return _LETTER * max((len(as_text(name)) for name in names), default=0)


def _drawn(parts: Sequence[str], width: float, height: float, title: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'width="{width:.0f}" height="{height:.0f}" role="img" {_STYLE}>'
        f"<title>{shown(title)}</title>{''.join(parts)}</svg>\n"
    )


def side_by_side(pictures: Mapping[str, str]) -> str:
    """Put pictures into one, each under its name.

    Args:
        pictures: As the functions here draw them, by name.
    """
    parts, x, height = [], 0.0, 0.0
    for name, picture in pictures.items():
        _, _, own_width, own_height = map(
            float, picture.split('viewBox="')[1].split('"')[0].split()
        )
        width = max(own_width, _width([name]) + 8)
        parts.append(f'<text x="{x + width / 2:.0f}" y="16" text-anchor="middle" '
                     f'font-weight="600">{shown(name)}</text>')  # fmt: skip
        parts.append(picture.replace("<svg ", f'<svg x="{x:.0f}" y="24" ', 1))
        x, height = x + width + 16, max(height, own_height)
    return _drawn(parts, x, height + 24, ", ".join(pictures))
