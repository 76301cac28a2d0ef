"""`modpm verify`."""

from __future__ import annotations

from typing import Any

import click

from modpm.cli.completion import installed_names
from modpm.cli.installation_report import warn_of_yanked_modules
from modpm.cli.module_table import installed_data
from modpm.cli.options import helping_registry_option, json_option, offline_option, project_option
from modpm.cli.output import counted, emit, say
from modpm.cli.progress_bar import download_bar
from modpm.registry.installing.verification import verify


@click.command(
    "verify", epilog="Example: modpm verify --repair; modpm verify pets --accuracy photos"
)
@click.argument("classifiers", nargs=-1, shell_complete=installed_names, metavar="[CLF]...")
@click.option(
    "--accuracy",
    metavar="DATA",
    help="Measure compositions again: those installed, or each CLF. Exits with 1 if an accuracy "
    "differs from the recorded one by more than two standard errors of the difference.",
)
@click.option("--repair", is_flag=True, help="Fetch and make anew what is damaged, first.")
@helping_registry_option
@offline_option
@project_option
@json_option
def command(
    *,
    classifiers: tuple[str, ...],
    accuracy: str | None,
    repair: bool,
    registry: tuple[str, ...],
    offline: bool,
    project: str,
    as_json: bool,
) -> None:
    """Check installed class modules against modpm.lock and their digests.

    Every byte is read, in .modpm/ and in the store. Exits with 1, and names what is wrong, if
    anything is. With --repair, what is installed stays the same releases. Registries are asked
    which releases were yanked, which is said and no fault.

    With --accuracy, what compositions were recorded at (`evaluate --record`) is measured again. CLF
    is the folder of a composed classifier, or an installed composition; then nothing else is
    checked.
    """
    if classifiers:
        if accuracy is None or repair:
            raise click.UsageError("CLF goes with `--accuracy DATA`, and without `--repair`")
        checks = _measure_again(accuracy, classifiers, project)
        if as_json:
            emit({"accuracy": checks})
        return
    repaired: list[str] = []
    with download_bar() as progress:
        modules = verify(
            project,
            registry,
            repair=repair,
            offline=offline,
            on_problem=repaired.append,
            progress=progress,
        )
    for problem in repaired:
        say(f"! repaired: {problem}")
    warn_of_yanked_modules(modules)
    checks = [] if accuracy is None else _measure_again(accuracy, (), project)
    if as_json:
        data = {"modules": [installed_data(module) for module in modules], "repaired": repaired}
        emit(data if accuracy is None else {**data, "accuracy": checks})
        return
    say(f"all is intact: {counted(len(modules), 'module')}")


def _measure_again(data: str, classifiers: tuple[str, ...], project: str) -> list[dict[str, Any]]:
    from modpm.verbs.verifying_accuracy import verify_accuracy  # noqa: PLC0415 -- torch is for this alone

    checks = verify_accuracy(data, classifiers, project=project, report=say)
    for check in checks:
        say(str(check))
    return [check.to_json() for check in checks]
