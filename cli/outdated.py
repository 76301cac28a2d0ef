"""`modpm outdated`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from modpm.cli.measured_update import measure_again, print_measured
from modpm.cli.module_table import Row, digits, print_rows
from modpm.cli.options import (
    accuracy_option,
    asked_registry_option,
    exclude_newer_option,
    json_option,
    project_option,
)
from modpm.cli.output import Marked, emit, say, warn, warn_of
from modpm.core.formats.measurement import Measurement
from modpm.core.formats.records import to_plain
from modpm.core.shown_text import Percent
from modpm.registry.discovery.outdated import outdated
from modpm.registry.installing.installation import update as would_be

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modpm.core.errors import ModpmError
    from modpm.registry.discovery.outdated import Change, Standing


@click.command("outdated", epilog="Example: modpm outdated")
@click.option(
    "--exit-code", is_flag=True, help="Exit with 1 if there are any; errors have this code too."
)
@accuracy_option
@asked_registry_option
@exclude_newer_option
@project_option
@json_option
def command(
    *,
    exit_code: bool,
    accuracy: str | None,
    registry: tuple[str, ...],
    exclude_newer: str | None,
    project: str,
    as_json: bool,
) -> int:
    """Show modules that have newer releases, and how their accuracy changes.

    `fits` is the newest release that everybody who asks for the module allows; `modpm update`
    moves to it. `newest` is the newest at all. A module of which nothing can be read is said to be
    left out, and counts as outdated for `--exit-code`.

    `measured` is what releases say of themselves. With --accuracy, what `modpm update` would make
    of each label of the recorded classifiers is measured; the newer releases come into the store.
    """
    problems: list[ModpmError] = []
    standings = outdated(project, registry, exclude_newer=exclude_newer, on_problem=problems.append)
    found = [standing for standing in standings if standing.is_outdated]
    measured = None
    if accuracy is not None:
        update = would_be(
            project=project, registry=registry, exclude_newer=exclude_newer, dry_run=True
        )
        measured = measure_again(update, accuracy)
    if as_json:
        more = {} if measured is None else {"accuracy": [one.to_json() for one in measured]}
        emit({"modules": [_data(standing) for standing in found], **more})
    else:
        _print(found, is_complete=not problems)
        if measured is not None:
            print_measured(measured)
    for problem in problems:
        warn_of(problem)
    return int(exit_code and bool(found or problems))


def _print(found: Sequence[Standing], *, is_complete: bool) -> None:
    print_rows([_row(standing) for standing in found])
    for standing in found:
        if standing.next_signer not in {standing.signer, None}:
            warn(_resigned(standing))
        if standing.yanked is not None:
            warn(f"{standing.name} {standing.version} is yanked: {standing.yanked}")
    if not found and is_complete:
        say("everything is the newest")


def _row(standing: Standing) -> Row:
    is_yanked = standing.yanked is not None
    newer = Marked(standing.newest or "-", "yellow")
    return {
        "name": standing.name,
        "installed": Marked(standing.version, "red") if is_yanked else standing.version,
        "fits": standing.fitting,
        "newest": standing.newest if standing.newest == standing.version else newer,
        "signer": digits(standing.signer),
        "measured": "; ".join(map(_in_words, standing.measured)) or None,
    }


def _resigned(standing: Standing) -> str:
    before = standing.signer or "nothing"
    return (
        f"{standing.name}: what is newer is signed with {standing.next_signer}, "
        f"and {standing.version} with {before}"
    )


def _in_words(change: Change) -> str:
    before, after = change
    if isinstance(before, Measurement) and isinstance(after, Measurement):
        others = ", open set" if before.open_set else ""
        on = f"{before.data_set}, {before.split}{others}"
        return f"{on}: accuracy {Percent(before.accuracy)} -> {Percent(after.accuracy)}"
    shares = ", ".join(
        f"{name} {Percent(getattr(before, name))} -> {Percent(getattr(after, name))}"
        for name in ("recall", "precision")
    )
    return f"{before.split}: {shares}"


def _data(standing: Standing) -> dict[str, object]:
    changes = standing.measured
    return {
        "name": str(standing.name),
        "version": standing.version,
        "fitting": standing.fitting,
        "newest": standing.newest,
        "yanked": standing.yanked,
        "signer": standing.signer,
        "next_signer": standing.next_signer,
        "metrics": [_metrics(one) for one in changes if not isinstance(one.before, Measurement)],
        "measured": [
            {"before": to_plain(change.before), "after": to_plain(change.after)}
            for change in changes
            if isinstance(change.before, Measurement)
        ],
    }


def _metrics(change: Change) -> dict[str, object]:
    keys = ("recall", "precision", "average_precision", "n")
    return {
        "split": change.before.split,
        "before": {key: getattr(change.before, key) for key in keys},
        "after": {key: getattr(change.after, key) for key in keys},
    }
