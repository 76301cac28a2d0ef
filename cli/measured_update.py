"""How verbs say what an update would make of the classifiers of a project."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modpm.cli.output import say, show
from modpm.cli.progress_bar import download_bar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modpm.registry.installing.installation import Installation
    from modpm.verbs.measuring_update import MeasuredUpdate


def measure_again(
    installation: Installation, data: str, *, offline: bool = False
) -> list[MeasuredUpdate]:
    """Measure what an update would make of the classifiers of a project."""
    from modpm.verbs.measuring_update import measure_update  # noqa: PLC0415 -- torch is for this alone

    with download_bar() as progress:
        return measure_update(installation, data, offline=offline, report=say, progress=progress)


def print_measured(updates: Sequence[MeasuredUpdate]) -> None:
    """Print what would become of each label of each classifier."""
    from modpm.cli.comparison import print_comparison  # noqa: PLC0415 -- seldom needed

    for one in updates:
        show(f"{one.classifier}, before and after the update:")
        print_comparison(one.comparison)
    if not updates:
        say("no recorded classifier would change")
