"""`modpm predict`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from modpm.cli.options import device_option, skip_bad_option
from modpm.cli.output import emit, error_fields, report_error, say, table
from modpm.core.shown_text import Percent, short_labels

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from modpm.core.classifiers.classifier import Prediction
    from modpm.verbs.judging import JudgedImage

NONE_OF_THE_ABOVE = "none of the above"


@click.command("predict", epilog="Example: modpm predict pets photo.png holidays/")
@click.argument("classifier", metavar="CLF")
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@skip_bad_option
@device_option
@click.option("--json", "as_json", is_flag=True, help="Print labels and scores as JSON.")
def command(
    classifier: str, images: tuple[str, ...], skip_bad: bool, device: str, as_json: bool
) -> int:
    """Classify images: label, probability and runner-up, or none of the above.

    Probabilities are as if each label came equally often.

    CLF is the folder of a classifier. Images may have any size and colors; a folder stands for all
    images in it and below. One that cannot be used is told after the others, and the exit code is
    1 then.
    """
    from modpm.verbs.judging import predict  # noqa: PLC0415 -- so that --help needs no torch

    judged = predict(classifier, images, skip_bad=skip_bad, device=device, report=say)
    problems = [one.problem for one in judged if one.problem is not None]
    if as_json:
        emit([_data(one) for one in judged])
    else:
        _print(judged)
        for problem in problems:
            report_error(problem, as_json=False)
    return 1 if problems else 0


def _data(one: JudgedImage) -> dict[str, object]:
    if one.problem is not None:
        return {"image": one.image, "error": error_fields(one.problem)}
    assert one.prediction is not None
    return {
        "image": one.image,
        "label": one.prediction.label,
        "probability": one.prediction.probability,
        "runner_up": one.prediction.runner_up,
        "scores": one.prediction.scores,
    }


def _print(judged: Sequence[JudgedImage]) -> None:
    found = [(one.image, one.prediction) for one in judged if one.prediction is not None]
    if found:
        shown = short_labels(list(found[0][1].scores))
        rows = [_row(image, prediction, shown) for image, prediction in found]
        table(rows, ("image", "label", "probability", "runner-up"))


def _row(
    image: str, prediction: Prediction, shown: Mapping[str, str]
) -> tuple[str, str, Percent, str | None]:
    label = NONE_OF_THE_ABOVE if prediction.label is None else shown[prediction.label]
    second = None if prediction.runner_up is None else shown[prediction.runner_up]
    return image, label, Percent(prediction.probability), second
