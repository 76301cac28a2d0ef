"""What changing one label of a classifier is told, and how it is shown beside what was before."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from modpm.cli.completion import installed_names
from modpm.cli.options import skip_bad_option
from modpm.cli.output import emit, say, show, table
from modpm.cli.pairs import map_option
from modpm.core.shown_text import Percent, Points, short_labels

if TYPE_CHECKING:
    from modpm.core.composition.replacing import Comparison
    from modpm.verbs.replacing import Publishable, Replacement

_Command = TypeVar("_Command", bound=Callable[..., Any])

_CHANGE = (
    click.option(
        "--with",
        "module",
        required=True,
        metavar="MODULE",
        shell_complete=installed_names,
        help="The class module that scores it from now on: an installed name, or the folder of a "
        "distribution.",
    ),
    click.option("--split", default="test", show_default=True, help="Which images of DATA."),
    click.option(
        "--budget",
        type=float,
        default=0.5,
        show_default=True,
        metavar="POINTS",
        help="How many points of recall each label may lose on DATA.",
    ),
    click.option(
        "--calibrate",
        metavar="IMAGES",
        help="Fit one linear layer over the scores of all labels to labeled images, a few of each "
        "label that no network was trained with. It is kept where cross-validation finds it "
        "better than log-odds beside log-odds by its standard error.",
    ),
    click.option(
        "--calibrate-split",
        default="train",
        show_default=True,
        help="Which of IMAGES.",
    ),
    map_option,
    skip_bad_option,
    click.option(
        "-o",
        "--output",
        metavar="CLF",
        help="The folder for the new classifier; without it, nothing is written.",
    ),
)


def change_options(command: _Command) -> _Command:
    """Add the options of commands that let a class module score one label."""
    for option in reversed(_CHANGE):
        command = option(command)
    return command


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
    where = path
    if where is None:
        is_written = made.publishable is not None
        where = "it was not saved" if is_written else "nothing was written: name a folder by -o"
    say(f"{made.label} is scored by {made.module.name} {made.module.version}; {where}")
    if made.publishable is not None:
        _say_how_to_publish(made.publishable)


def _say_how_to_publish(made: Publishable) -> None:
    """Say what publishes it, and what uses it then; each line is a whole command."""
    folders, registry = [str(made.folder)], []
    if made.is_published:
        registry = ["--registry", made.module]
    else:
        folders.append(made.module)
    say(f"{made.folder}: {made.name} and the class modules that it needs, to be published by")
    say(f"  {shlex.join(['modpm', 'publish', *folders, *registry])}")
    say("then, in any project:")
    say(f"  {shlex.join(['modpm', 'install', made.name, *registry])}")
    say(f"  {shlex.join(['modpm', 'compose', made.name, '-o', made.name.partition('/')[2]])}")


def _data(made: Replacement, path: str | None) -> dict[str, object]:
    module = made.module
    return {
        "path": path,
        "label": made.label,
        "module": {"name": module.name, "version": module.version, "digest": module.digest},
        "strategy": made.classifier.strategy,
        "measured": None if made.comparison is None else made.comparison.to_json(),
        "publishable": None if made.publishable is None else made.publishable.to_json(),
        "calibrated": None if made.calibrated is None else made.calibrated._asdict(),
    }


def print_comparison(comparison: Comparison) -> None:
    """Print precision and recall of every label before and after, and the accuracy."""
    shown = short_labels(list(comparison.after.per_class))
    table(
        [
            (
                f"{shown[label]} *" if label in comparison.targets else shown[label],
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
