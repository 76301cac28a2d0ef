"""How the verbs that change a project say what they changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modpm.cli.costs import together_data, together_lines
from modpm.cli.measured_update import print_measured
from modpm.cli.module_table import digits, installed_data
from modpm.cli.output import counted, emit, say, warn, warn_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from modpm.core.estimating.together import Together
    from modpm.core.formats.names import ModuleName
    from modpm.registry.installing.installation import Installation
    from modpm.registry.installing.installed import InstalledModule
    from modpm.registry.projects.lockfile import Change
    from modpm.verbs.measuring_update import MeasuredUpdate

_ASKS = ("modpm.toml asks for", "modpm.toml would ask for")


def report_installation(
    installation: Installation,
    *,
    as_json: bool,
    dry_run: bool,
    measured: Sequence[MeasuredUpdate] | None = None,
    counts: bool = False,
) -> None:
    """Say what was changed, or print what is installed now as JSON.

    Args:
        installation: What was done.
        as_json: Whether data is printed.
        dry_run: Whether nothing was done.
        measured: What it would make of recorded classifiers, where that was asked.
        counts: Whether to say what modules cost together of the origins of those that came.
    """
    for one in installation.replaced:
        say(f"{_ASKS[dry_run]} `{one.after}`, and no longer for `{one.before}`")
    say_changes(installation.changes, dry_run=dry_run)
    together = _together(installation) if counts and not dry_run else None
    for line in together_lines(together):
        say(line)
    _say_signers(installation)
    say_unmeasured(installation.unmeasured, dry_run=dry_run)
    for name in installation.mended:
        say(f"! {name} was damaged, and is made anew")
    if not installation.changes and not installation.mended:
        say("everything is installed already")
    warn_of_yanked(installation.yanked)
    for problem in installation.problems:
        warn_of(problem)
    if not as_json:
        if measured is not None:
            print_measured(measured)
        return
    emit(
        {
            "modules": [installed_data(module) for module in installation.modules],
            "changes": changes_data(installation.changes),
            "mended": [str(name) for name in installation.mended],
            "yanked": yanked_data(installation.yanked),
            "replaced": [
                {"before": one.before, "after": one.after} for one in installation.replaced
            ],
            "unmeasured": [*installation.unmeasured],
            "dry_run": dry_run,
            **({"together": together_data(together)} if counts else {}),
            **({} if measured is None else {"accuracy": [one.to_json() for one in measured]}),
        }
    )


def _together(installation: Installation) -> Together | None:
    if all(change.after is None for change in installation.changes):
        return None
    from modpm.registry.installing.touched import cost_of_touched  # noqa: PLC0415 -- only if some came

    return cost_of_touched(installation)


def _say_signers(installation: Installation) -> None:
    """Say who has signed what came, once for each key of a namespace."""
    came = {change.name for change in installation.changes if change.after is not None}
    signed: dict[tuple[str, str], list[str]] = {}
    for module in installation.modules:
        if module.name in came and module.signer is not None:
            signed.setdefault((module.name.namespace, module.signer), []).append(module.version)
    for (namespace, key), releases in signed.items():
        n = counted(len(releases), "release")
        say(f"{n} of {namespace} signed with {digits(key)}")


def say_changes(changes: Sequence[Change], *, dry_run: bool) -> None:
    """Say what came, went, or moved."""
    for change in changes:
        say(_in_words(change))
    if changes and dry_run:
        say("nothing was changed: this was a dry run")


def say_unmeasured(classifiers: Sequence[str], *, dry_run: bool) -> None:
    """Say of which classifiers `modpm.lock` knows no longer how good they are."""
    lost = (
        "would no longer be in modpm.lock: its modules would be others"
        if dry_run
        else "is no longer in modpm.lock: its modules are others now"
    )
    for one in classifiers:
        say(f"what {one} was measured at {lost}")


def changes_data(changes: Sequence[Change]) -> list[dict[str, str | None]]:
    """Return what scripts read of changes."""
    return [
        {"name": str(c.name), "before": c.before, "after": c.after, "lowered": c.lowered}
        for c in changes
    ]


def warn_of_yanked(yanked: Mapping[ModuleName, str]) -> None:
    """Warn of releases that nobody new should get."""
    for name, reason in sorted(yanked.items()):
        warn(f"{name} is yanked: {reason}")


def warn_of_yanked_modules(modules: Iterable[InstalledModule]) -> None:
    """Warn of those of installed modules that were yanked."""
    warn_of_yanked({one.name: one.yanked for one in modules if one.yanked is not None})


def yanked_data(yanked: Mapping[ModuleName, str]) -> list[dict[str, str]]:
    """Return what scripts read of yanked releases."""
    return [{"name": str(name), "reason": reason} for name, reason in sorted(yanked.items())]


def _in_words(change: Change) -> str:
    if change.before is None:
        return f"+ {change.name} {change.after}"
    if change.after is None:
        return f"- {change.name} {change.before}"
    why = "" if change.lowered is None else f" (lowered: {change.lowered})"
    return f"~ {change.name} {change.before} -> {change.after}{why}"
