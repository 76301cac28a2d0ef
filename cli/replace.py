"""`modpm replace`."""

from __future__ import annotations

import click

from modpm.cli.comparison import change_options, give
from modpm.cli.completion import installed_names
from modpm.cli.options import device_option, json_option, project_option
from modpm.cli.output import say


@click.command(
    "replace",
    epilog="Example: modpm replace pets --class cat --with other/cat --data cifar10 -o better",
)
@click.argument("composition", shell_complete=installed_names)
@click.option(
    "--class", "label", required=True, metavar="LABEL", help="The label, or its last part."
)
@click.option("--data", metavar="DATA", help="Labeled images to measure the change on.")
@change_options
@project_option
@device_option
@json_option
def command(
    *,
    composition: str,
    label: str,
    module: str,
    data: str | None,
    split: str,
    budget: float,
    calibrate: str | None,
    calibrate_split: str,
    mapping: dict[str, str],
    skip_bad: bool,
    output: str | None,
    device: str,
    project: str,
    as_json: bool,
) -> None:
    """Let another class module score one label of a classifier, without training.

    COMPOSITION is the folder of a composed classifier, or an installed composition; its class
    modules are installed in the project. The label stays, and so do the other class modules.
    With DATA, precision and recall of every label are shown before and after; if a label
    loses more than the budget, nothing is written and the exit code is 1.
    """
    from modpm.verbs.replacing import replace  # noqa: PLC0415 -- so that --help needs no torch

    made = replace(
        composition,
        label,
        module,
        data=data,
        split=split,
        budget=budget,
        calibrate=calibrate,
        calibrate_split=calibrate_split,
        mapping=mapping,
        skip_bad=skip_bad,
        device=device,
        project=project,
        report=say,
    )
    give(made, output, as_json=as_json)
