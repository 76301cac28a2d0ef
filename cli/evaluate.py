"""`modpm evaluate`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from modpm.cli.comparison import share
from modpm.cli.completion import installed_names
from modpm.cli.options import device_option, skip_bad_option
from modpm.cli.output import emit, say, show, table, warn
from modpm.cli.pairs import map_option
from modpm.core.shown_text import Percent, short_labels

if TYPE_CHECKING:
    from modpm.core.classifiers.evaluation import Evaluation, KnownMetrics


def _names(_ctx: click.Context, _parameter: click.Parameter, value: str | None) -> list[str] | None:
    return None if value is None else [name.strip() for name in value.split(",") if name.strip()]


@click.command("evaluate", epilog="Example: modpm evaluate pets cifar10 --classes cat,dog")
@click.argument("subject", shell_complete=installed_names, metavar="CLF_OR_RUN_OR_MODULE")
@click.argument("data")
@click.option("--split", default="test", show_default=True, help="Which images of DATA.")
@click.option(
    "--classes",
    metavar="A,B",
    callback=_names,
    help="Restrict images and outputs to these classes, named as the data set names them.",
)
@map_option
@click.option(
    "--open-set",
    is_flag=True,
    help="Judge images of classes that no label meets too: they must be none of the above. How "
    "well the two are told apart is printed whatever the threshold (AUROC).",
)
@skip_bad_option
@click.option(
    "--record",
    is_flag=True,
    help="Write accuracy, recall of each class, calibration error and rejections into the "
    "classifier's composition.json, and into modpm.lock where that pins its class modules.",
)
@click.option(
    "--project",
    metavar="PATH",
    default=".",
    show_default="the current folder",
    help="A folder in the project.",
)
@device_option
@click.option("--json", "as_json", is_flag=True, help="Print what was measured as JSON.")
def command(
    *,
    subject: str,
    data: str,
    split: str,
    classes: list[str] | None,
    mapping: dict[str, str],
    open_set: bool,
    skip_bad: bool,
    record: bool,
    device: str,
    project: str,
    as_json: bool,
) -> None:
    """Measure a classifier, a run's network or a class module on labeled images.

    DATA is digits, a folder of parquet files, a folder of class-named folders of images, or a
    data set of the Hugging Face Hub. The label cifar10/cat meets the class `cat` of DATA; images
    of classes that no label meets are left out and counted. A class module alone answers yes or
    no: yes where its score is above 0.
    """
    from modpm.verbs.judging import evaluate  # noqa: PLC0415 -- so that --help needs no torch

    measured = evaluate(
        subject,
        data,
        split,
        classes=classes,
        mapping=mapping,
        open_set=open_set,
        skip_bad=skip_bad,
        record=record,
        device=device,
        project=project,
        report=say,
    )
    if measured.n_trained_on:
        warn(
            f"{measured.n_trained_on:,} images of this split are among those that the network was "
            "trained with: how right it is about them says little of others"
        )
    if measured.n_rejected == measured.n and measured.average_precision is None:
        warn(
            "every image was none of the above: the threshold that the classifier was composed "
            "with rejects all of these"
        )
    if as_json:
        emit(measured.to_json())
    else:
        _print(measured)


def _known_in_words(known: KnownMetrics) -> str:
    told = "not measured" if known.auroc is None else f"{known.auroc:.4f}"
    rejected = "not measured"
    if known.false_rejections is not None:
        rejected = f"{Percent(known.false_rejections)} of {known.n_known:,} images of the labels"
    return f"AUROC, images of the labels against others: {told}; false rejections: {rejected}"


def _print(measured: Evaluation) -> None:
    shown = short_labels(list(measured.per_class))
    table(
        [
            (shown[label], share(one.precision), share(one.recall), one.n)
            for label, one in measured.per_class.items()
        ],
        ("label", "precision", "recall", "images"),
    )
    error = measured.calibration_error
    calibration = "" if error is None else f"; calibration error: {Percent(error)}"
    show(
        f"accuracy {Percent(measured.accuracy)} (balanced "
        f"{Percent(measured.balanced_accuracy)}) of {measured.n:,} images; none of the above: "
        f"{measured.n_rejected:,} ({Percent(measured.share_rejected)}); left out: "
        f"{measured.n_left_out:,}{calibration}"
    )
    if measured.known is not None:
        show(_known_in_words(measured.known))
    if measured.average_precision is not None:
        show(f"average precision {measured.average_precision:.4f}")
