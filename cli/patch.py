"""`modpm patch`."""

from __future__ import annotations

from pathlib import Path

import click

from modpm.cli.comparison import change_options, give
from modpm.cli.options import device_option, json_option, project_option, weights_options
from modpm.cli.output import say


@click.command(
    "patch",
    epilog="Example: modpm patch resnet20.safetensors --arch resnet20 --data cifar10 "
    "--mean 0.485,0.456,0.406 --std 0.229,0.224,0.225 --class cat --with other/cat -o better",
)
@click.argument("network", metavar="NETWORK", type=click.Path(path_type=Path))
@click.option(
    "--class", "label", required=True, metavar="CLASS", help="The class, as DATA names it."
)
@click.option(
    "--data",
    metavar="DATA",
    show_default="that of the run",
    help="What the network was trained on, as `train` takes it, and what the change is measured "
    "on.",
)
@change_options
@weights_options
@click.option(
    "--dist",
    metavar="DIST",
    type=click.Path(path_type=Path),
    help="A folder for what is published, to be made: the composition, and class modules of the "
    "network's other classes, which keep all of it. With --name and --license.",
)
@click.option(
    "--name",
    metavar="NAME",
    help="For --dist: what the composition is called, such as acme/patched; the class modules get "
    "its namespace.",
)
@click.option(
    "--version", default="1.0.0", show_default=True, help="For --dist: version of the releases."
)
@click.option(
    "--license",
    "license",
    default="LicenseRef-unstated",
    metavar="SPDX",
    help="For --dist: license of the releases.",
)
@click.option(
    "--author", "authors", multiple=True, metavar="NAME", help="For --dist; may be given again."
)
@project_option
@device_option
@json_option
def command(
    *,
    network: Path,
    label: str,
    module: str,
    data: str | None,
    split: str,
    budget: float,
    calibrate: str | None,
    calibrate_split: str,
    mapping: dict[str, str],
    arch: str | None,
    width: float,
    classes: list[str] | None,
    mean: list[float] | None,
    std: list[float] | None,
    image_size: list[int] | None,
    val_fraction: float,
    seed: int,
    skip_bad: bool,
    dist: Path | None,
    name: str | None,
    version: str,
    license: str,
    authors: tuple[str, ...],
    output: str | None,
    device: str,
    project: str,
    as_json: bool,
) -> None:
    """Let a class module score one class of an ordinary network, without training.

    NETWORK is the folder of a finished run, or a file of ordinary weights, as `modularize` takes
    them. The network keeps its other classes. Precision and recall of every class are shown before
    and after; if a class loses more than the budget, nothing is written and the exit code is 1.
    CLF is a classifier that `predict`, `evaluate` and `export` take. A composition is published
    with what it is made of: DIST gets the composition, and a class module for each of the other
    classes, which are the network again where they are composed. The commands that publish and
    use it are printed.
    """
    from modpm.verbs.patching import patch  # noqa: PLC0415 -- so that --help needs no torch

    made = patch(
        network,
        label,
        module,
        data=data,
        split=split,
        budget=budget,
        calibrate=calibrate,
        calibrate_split=calibrate_split,
        mapping=mapping,
        arch=arch,
        width=width,
        classes=classes,
        mean=mean,
        std=std,
        image_size=image_size,
        val_fraction=val_fraction,
        seed=seed,
        skip_bad=skip_bad,
        dist=dist,
        name=name,
        version=version,
        license=license,
        authors=authors,
        device=device,
        project=project,
        report=say,
    )
    give(made, output, as_json=as_json)
