"""`modpm quantize`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from modpm.cli.options import device_option, json_option, project_option, skip_bad_option
from modpm.cli.output import counted, emit, say, table
from modpm.cli.progress_lines import Lines
from modpm.core.shown_text import Percent

if TYPE_CHECKING:
    from modpm.core.quantizing.variant import Made, Quantization


@click.command(
    "quantize",
    epilog="Example: modpm quantize dist/cifar10 --int8 --data cifar10 -o dist/cifar10-int8",
)
@click.argument("modules", nargs=-1, required=True, metavar="NAME...")
@click.option(
    "--int8",
    "kind",
    flag_value="int8",
    default="int8",
    help="Weights and values of 8 bits, which is the one kind there is.",
)
@click.option(
    "--data",
    required=True,
    metavar="DATA",
    help="What the modules were made of, as `train` takes it.",
)
@skip_bad_option
@project_option
@device_option
@click.option(
    "-o",
    "--output",
    required=True,
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="The folder for the distributions, to be made.",
)
@json_option
def command(
    *,
    modules: tuple[str, ...],
    kind: Literal["int8"],
    data: str,
    skip_bad: bool,
    project: str,
    device: str,
    output: Path,
    as_json: bool,
) -> None:
    """Make variants of class modules with weights and values of 8 bits.

    NAME is an installed module, a distribution, or a folder of distributions; all are of one
    origin. Each variant is a distribution with the name of its module and `-int8`, under the same
    version, to be published beside it: `modpm install NAME --variant int8` installs it then.
    Weights are rounded kernel by kernel and values over the range that training images have;
    statistics and the score are taken anew, and precision and recall measured before and after.
    """
    from modpm.verbs.quantizing import quantize  # noqa: PLC0415 -- so that --help needs no torch

    lines = Lines()
    made = quantize(
        modules,
        output,
        data=data,
        kind=kind,
        skip_bad=skip_bad,
        device=device,
        project=project,
        progress=lambda what, done, of: lines.tell(lambda: f"{what}: {done} of {of}"),
        report=say,
    )
    if as_json:
        emit(_data(made))
    else:
        _show(made)


_COLUMNS = ("variant", "tensor bytes", "of", "precision", "before", "recall", "before")


def _show(made: Quantization) -> None:
    table([_row(one) for one in made.variants], _COLUMNS)
    say(f"{counted(len(made.variants), 'variant')} in {made.folder}, measured on {made.split}")
    if made.before is not None and made.after is not None:
        say(
            f"side by side they name {Percent(made.after)} of {made.n:,} images rightly, the "
            f"modules that they are made of {Percent(made.before)}"
        )


def _row(one: Made) -> tuple[object, ...]:
    after, before = one.metrics
    return (
        one.manifest.name,
        f"{one.manifest.size_bytes:,}",
        f"{one.release.size_bytes:,}",
        Percent(after.precision),
        Percent(before.precision),
        Percent(after.recall),
        Percent(before.recall),
    )


def _data(made: Quantization) -> dict[str, object]:
    return {
        "path": str(made.folder),
        "split": made.split,
        "n": made.n,
        "accuracy_before": made.before,
        "accuracy": made.after,
        "variants": [_variant_data(one) for one in made.variants],
    }


def _variant_data(one: Made) -> dict[str, object]:
    after, before = one.metrics
    fields = ("precision", "recall", "average_precision")
    return {
        "name": one.manifest.name,
        "version": one.manifest.version,
        "digest": one.distribution.digest,
        "path": str(one.distribution.folder),
        "size_bytes": one.manifest.size_bytes,
        "size_bytes_before": one.release.size_bytes,
        **{field: getattr(after, field) for field in fields},
        **{f"{field}_before": getattr(before, field) for field in fields},
    }
