"""`modpm patch`."""

from __future__ import annotations

from pathlib import Path

import click

from modpm.cli.comparison import give
from modpm.cli.completion import installed_names
from modpm.cli.options import device_option, json_option, project_option, weights_options
from modpm.cli.output import say
from modpm.cli.pairs import pairs


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
    "--with",
    "module",
    required=True,
    metavar="MODULE",
    shell_complete=installed_names,
    help="The class module that scores it from now on: an installed name, or the folder of a "
    "distribution.",
)
@click.option(
    "--data",
    metavar="DATA",
    show_default="that of the run",
    help="What the network was trained on, as `train` takes it, and what the change is measured "
    "on.",
)
@click.option("--split", default="test", show_default=True, help="Which images of DATA.")
@click.option(
    "--budget",
    type=float,
    default=0.5,
    show_default=True,
    metavar="POINTS",
    help="How many points of recall each class may lose on DATA.",
)
@click.option(
    "--map",
    "mapping",
    multiple=True,
    metavar="LABEL=CLASS",
    callback=pairs,
    help="The class of DATA that a label meets, where their names differ; may be given again.",
)
@click.option("--skip-bad", is_flag=True, help="Leave out images that cannot be decoded.")
@click.option(
    "-o",
    "--output",
    metavar="CLF",
    help="The folder for the new classifier; without it, nothing is written.",
)
@weights_options
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
    output: str | None,
    device: str,
    project: str,
    as_json: bool,
) -> None:
    """Let a class module score one class of an ordinary network, without training.

    NETWORK is the folder of a finished run, or a file of ordinary weights, as `modularize` takes
    them. The network keeps its other classes. Precision and recall of every class are shown before
    and after; if a class loses more than the budget, nothing is written and the exit code is 1.
    CLF is a classifier that `predict`, `evaluate` and `export` take. It cannot be published, for
    the other classes are in no release: cut the network into modules that keep all of it, and
    `replace` one of their composition.
    """
    from modpm.verbs.patching import patch  # noqa: PLC0415 -- so that --help needs no torch

    made = patch(
        network,
        label,
        module,
        data=data,
        split=split,
        budget=budget,
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
        device=device,
        project=project,
        report=say,
    )
    give(made, output, as_json=as_json)
