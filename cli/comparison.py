"""How two classifiers are shown beside each other, measured on the same images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modpm.cli.output import emit, say, show, table
from modpm.core.shown_text import Percent, Points, short_labels

if TYPE_CHECKING:
    from modpm.core.composition.replacing import Comparison
    from modpm.verbs.replacing import Replacement

COLUMNS = ("label", "precision", "after", "recall", "after", "points", "images")


def give(made: Replacement, path: str | None, *, as_json: bool) -> None:
    """Write a classifier of which one label is scored otherwise, and print what that changed.

    Args:
        made: The classifier.
        path: Where to; None to write nothing.
        as_json: Whether data is printed.
    """
    if path is not None:
        made.classifier.save(path)
    if as_json:
        emit(_data(made, path))
        return
    if made.comparison is None:
        say("nothing was measured: give labeled images by --data")
    else:
        print_comparison(made.comparison)
    where = "nothing was written: name a folder by -o" if path is None else path
    say(f"{made.label} is scored by {made.module.name} {made.module.version}; {where}")


def _data(made: Replacement, path: str | None) -> dict[str, object]:
    module = made.module
    return {
        "path": path,
        "label": made.label,
        "module": {"name": module.name, "version": module.version, "digest": module.digest},
        "strategy": made.classifier.strategy,
        "measured": None if made.comparison is None else made.comparison.to_json(),
    }


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
