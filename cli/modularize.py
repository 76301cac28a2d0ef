"""`modpm modularize`."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from modpm.cli.options import device_option, weights_options
from modpm.cli.output import emit, is_quiet, is_terminal, say, show, table
from modpm.cli.progress_lines import Lines
from modpm.core.shown_text import as_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from modpm.core.modularizing.modularization import Modularization
    from modpm.core.modularizing.modularize import Progress


@click.command(
    "modularize",
    epilog="Example: modpm modularize runs/cifar10 --threshold auto --budget 1 -o dist/cifar10; "
    "of weights: modpm modularize resnet20.safetensors --arch resnet20 --data cifar10 "
    "--mean 0.485,0.456,0.406 --std 0.229,0.224,0.225 --effort none -o dist/cifar10",
)
@click.argument("network", metavar="NETWORK", type=click.Path(path_type=Path))
@click.option("--data", metavar="DATA", help="For weights: what `train` takes as DATA.")
@weights_options
@click.option(
    "--skip-bad", is_flag=True, help="For weights: leave out images that cannot be decoded."
)
@click.option(
    "--effort",
    type=click.Choice(["none", "gradient", "train", "auto"]),
    show_default="what a run has found, or none",
    help="How kernels are found. none: by how far the logit of a class would move without each, in "
    "minutes; gradient: by a mask that is learned for each class, and then factors on what its "
    "module normalizes, in up to an hour. Both leave weights as they are. "
    "train: by training them with views, in a run beside DIST; auto: the less of the first two "
    "that stays within the budget, or else the command that trains.",
)
@click.option(
    "--epochs",
    default=30,
    show_default=True,
    help="For the effort train: passes over the training data.",
)
@click.option(
    "--threshold",
    metavar="SHARE|auto",
    help="For runs of mwt and moda: share of a class's images that must activate a kernel for the "
    "class to retain it, by default 0.9. For all: `auto` takes the smallest modules within the "
    "budget.",
)
@click.option(
    "--retention",
    type=float,
    metavar="RATE",
    show_default="what the run prepared",
    help="Share of the kernels that a class retains at most. Of a run, the first of its ranking, "
    "in multiples of 8 or 16 where layers are wide enough; of runs of mwt and moda those that are "
    "active most often, instead of a threshold; of other networks those that matter most, of "
    "whatever layer.",
)
@click.option(
    "--budget",
    type=float,
    default=1.0,
    show_default=True,
    metavar="POINTS",
    help="For `auto`, of thresholds or efforts: the accuracy that the composition of all classes "
    "may lose.",
)
@click.option("--namespace", metavar="NAME", help="By default the name of the data set.")
@click.option("--version", default="1.0.0", show_default=True, help="Version of the releases.")
@click.option(
    "--license",
    "license",
    default="LicenseRef-unstated",
    show_default=True,
    metavar="SPDX",
    help="License of the releases.",
)
@click.option("--author", "authors", multiple=True, metavar="NAME", help="May be given again.")
@click.option("--summary", metavar="TEXT", help="One line about the modules.")
@click.option(
    "--calibration",
    default="auto",
    show_default=True,
    metavar="KIND",
    help="How scores are made: `platt`, `one-vs-rest-head`, or the better one for each class; or "
    "a calibration of yours, package.module:Class.",
)
@click.option(
    "--measure-on",
    type=click.Choice(["test", "held-out"]),
    default="test",
    show_default=True,
    help="Images that modules are measured on; `held-out` does not read the test split.",
)
@device_option
@click.option(
    "-o",
    "--output",
    required=True,
    metavar="DIST",
    type=click.Path(path_type=Path),
    help="The folder for the distributions; it must not exist.",
)
@click.option("--json", "as_json", is_flag=True, help="Print what was made as JSON.")
def command(
    *,
    network: Path,
    data: str | None,
    arch: str | None,
    width: float,
    classes: list[str] | None,
    mean: list[float] | None,
    std: list[float] | None,
    image_size: list[int] | None,
    val_fraction: float,
    seed: int,
    skip_bad: bool,
    effort: str | None,
    epochs: int,
    threshold: str | None,
    retention: float | None,
    budget: float,
    namespace: str | None,
    version: str,
    license: str,
    authors: tuple[str, ...],
    summary: str | None,
    calibration: str,
    measure_on: str,
    device: str,
    output: Path,
    as_json: bool,
) -> None:
    """Cut a trained network into one class module for each class.

    NETWORK is the folder of a finished run, or a file of ordinary weights: .safetensors, or a
    .pth of tensors alone. DIST gets a distribution for each class, ready to
    be published, report.html to look at, modules.json with everything that was measured, and
    costs.json with what that took: seconds and estimated energy, beside those of training a
    network anew.
    """
    from modpm.core.modularizing.modularize import modularize  # noqa: PLC0415 -- torch is not for `--help`

    with _progress() as progress:
        made = modularize(
            network,
            data=data,
            arch=arch,
            width=width,
            classes=classes,
            mean=mean,
            std=std,
            image_size=image_size,
            val_fraction=val_fraction,
            seed=seed,
            skip_bad=skip_bad,
            effort=effort,
            epochs=epochs,
            output=output,
            threshold=threshold,
            retention=retention,
            budget=budget,
            namespace=namespace,
            version=version,
            license=license,
            authors=authors,
            summary=summary,
            calibration=calibration,
            measure_on=measure_on,
            device=device,
            progress=progress,
            report=say,
        )
    if as_json:
        costs = None if made.costs is None else made.costs.to_json()
        emit({**made.to_json(), "costs": costs})
    else:
        _print(made)


@contextmanager
def _progress() -> Iterator[Progress | None]:
    """Give what shows progress: bars on a terminal, elsewhere a line every so often."""
    if not is_terminal() or is_quiet():
        lines = Lines()
        yield lambda what, done, of: lines.tell(lambda: f"{what}: {done:,} of {of:,}")
        return
    from rich.console import Console  # noqa: PLC0415 -- only where there is a terminal
    from rich.markup import escape  # noqa: PLC0415 -- the same
    from rich.progress import Progress as Bars  # noqa: PLC0415 -- the same
    from rich.progress import TaskID  # noqa: PLC0415 -- the same

    tasks: dict[str, TaskID] = {}
    with Bars(console=Console(stderr=True), transient=True) as bars:

        def report(what: str, done: int, of: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(escape(as_text(what)), total=of)
            bars.update(tasks[what], completed=done)

        yield report


def _print(made: Modularization) -> None:
    from modpm.core.modularizing.modularization import (  # noqa: PLC0415 -- as above
        CURVE_COLUMNS,
        MODULE_COLUMNS,
        curve_rows,
        module_rows,
    )

    if made.curve:
        table(curve_rows(made), CURVE_COLUMNS)
        show()
    table(module_rows(made), MODULE_COLUMNS)
    say(f"{len(made.distributions)} class modules in {made.folder}: {made.summary()}")
    for sentence in made.costs.sentences() if made.costs else ():
        say(sentence)
