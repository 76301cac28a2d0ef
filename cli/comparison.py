"""How two classifiers are shown beside each other, measured on the same images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modpm.cli.output import show, table
from modpm.core.shown_text import Percent, Points, short_labels

if TYPE_CHECKING:
    from modpm.core.composition.replacing import Comparison

COLUMNS = ("label", "precision", "after", "recall", "after", "points", "images")


def print_comparison(comparison: Comparison) -> None:
    """Print precision and recall of every label before and after, and the accuracy."""
    shown = short_labels(list(comparison.after.per_class))
    table(
        [
            (
                f"{shown[label]} *" if label == comparison.target else shown[label],
                share(before.precision),
                share(after.precision),
                share(before.recall),
                share(after.recall),
                _points(comparison.gained(label)),
                after.n,
            )
            for label, before, after in comparison.changes()
        ],
        COLUMNS,
    )
    before, after = comparison.before, comparison.after
    show(
        f"accuracy {Percent(before.accuracy)}, after {Percent(after.accuracy)} of {after.n:,} "
        "images; * is scored otherwise"
    )


def share(value: float | None) -> Percent | None:
    """Return a share as it is shown, if there is one."""
    return None if value is None else Percent(value)


def _points(value: float | None) -> Points | None:
    return None if value is None else Points(value)
