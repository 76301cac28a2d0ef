"""`modpm predict`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from modpm.cli.options import device_option
from modpm.cli.output import emit, table

if TYPE_CHECKING:
    from modpm.core.composition.classifier import Prediction

NONE_OF_THE_ABOVE = "none of the above"


@click.command("predict", epilog="Example: modpm predict pets photo.png other.jpg")
@click.argument("classifier", metavar="CLF")
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@device_option
@click.option("--json", "as_json", is_flag=True, help="Print labels and scores as JSON.")
def command(classifier: str, images: tuple[str, ...], device: str, as_json: bool) -> None:
    """Classify images: label, probability and runner-up, or none of the above.

    Probabilities are as if each label came equally often.

    CLF is the folder of a classifier. Images may have any size and colors.
    """
    from modpm.verbs.judging import predict  # noqa: PLC0415 -- so that --help needs no torch

    predictions = predict(classifier, images, device=device)
    if as_json:
        emit([_data(path, one) for path, one in zip(images, predictions, strict=True)])
    else:
        rows = [_row(path, one) for path, one in zip(images, predictions, strict=True)]
        table(rows, ("image", "label", "probability", "runner-up"))


def _data(path: str, prediction: Prediction) -> dict[str, object]:
    return {
        "image": path,
        "label": prediction.label,
        "probability": prediction.probability,
        "runner_up": prediction.runner_up,
        "scores": prediction.scores,
    }


def _row(path: str, prediction: Prediction) -> tuple[str, str, float, str | None]:
    label = NONE_OF_THE_ABOVE if prediction.label is None else prediction.label
    return path, label, prediction.probability, prediction.runner_up
