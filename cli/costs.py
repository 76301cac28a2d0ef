"""How it is shown what several class modules cost together."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from modpm.cli.folding import Cell, laid_out, terminal_width
from modpm.cli.output import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from modpm.core.estimating.together import Together

_ROWS = {"n_parameters": "parameters", "macs": "multiply-accumulates an image"}


def together_lines(known: Together | None, of_bytes: str = "bytes") -> Iterator[str]:
    """Give a table of what modules cost one by one, together, and against their origins.

    Args:
        known: What they cost; nothing is said of fewer than two.
        of_bytes: What its bytes are.
    """
    if known is None or known.n_modules < 2:  # noqa: PLR2004 -- one shares with none
        return
    of = "one origin" if known.n_origins == 1 else f"{known.n_origins} origins"
    origins = "the origin" if known.n_origins == 1 else "the origins"
    titles = f"{counted(known.n_modules, 'module')} of {of}", "one by one", "together", origins
    costs = known.one_by_one, known.together, known.origins
    rows = [list(map(Cell, titles))]
    for field, title in {"size_bytes": of_bytes, **_ROWS}.items():
        numbers = [Cell(f"{getattr(cost, field):,}", is_number=True) for cost in costs]
        rows.append([Cell(title), *numbers])
    yield from laid_out(rows, terminal_width())


def together_data(known: Together | None) -> dict[str, Any] | None:
    """Return the same as JSON has it; None where it is not known."""
    if known is None:
        return None
    costs = {
        "one_by_one": known.one_by_one,
        "together": known.together,
        "origins": known.origins,
    }
    numbers = {name: asdict(cost) for name, cost in costs.items()}
    return {"n_modules": known.n_modules, "n_origins": known.n_origins, **numbers}
