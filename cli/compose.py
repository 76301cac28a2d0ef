"""`modpm compose`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from modpm.cli.completion import installed_names
from modpm.cli.costs import together_data, together_lines
from modpm.cli.latency import latency_data, latency_in_words
from modpm.cli.output import emit, say, table
from modpm.cli.pairs import map_option, pairs
from modpm.core.formats.records import to_plain
from modpm.core.shown_text import rejection_in_words

if TYPE_CHECKING:
    from modpm.core.classifiers.classifier import Classifier


def _threshold(_ctx: object, _parameter: object, value: str | None) -> float | str | None:
    """Return a number as such; what is neither that nor `auto` is refused by who composes."""
    try:
        return None if value is None else float(value)
    except ValueError:
        return value


@click.command("compose", epilog="Example: modpm compose cifar10/cat cifar10/dog mnist/7 -o pets")
@click.argument("sources", shell_complete=installed_names, nargs=-1, metavar="[NAME]...")
@click.option(
    "--strategy",
    metavar="[auto|independent|fused]",
    show_default="auto, or as the composition NAME says",
    help="independent: each module runs as it is; fused: modules of one origin become one "
    "network; auto: for each origin whichever is better by cost and recorded accuracy.",
)
@click.option(
    "--reject",
    metavar="[T|auto]",
    callback=_threshold,
    help="An image is none of the above where no module's own probability reaches T, counting "
    "its class as often shown as not; auto: the highest T that rejects at most a share of the "
    "images of the labels, by what modules that are not fused publish of held-out ones. By "
    "default every image gets a label, or as the composition NAME says.",
)
@click.option(
    "--false-rejections",
    type=float,
    metavar="SHARE",
    show_default="0.05",
    help="That share, for --reject auto.",
)
@click.option(
    "--alias",
    "aliases",
    multiple=True,
    metavar="NAME=LABEL",
    callback=pairs,
    help="Call the score of a module otherwise; may be given again.",
)
@click.option(
    "--ensemble",
    is_flag=True,
    help="Let modules of one class vote, whatever their namespaces: its score is the mean of "
    "theirs, under the label of the first.",
)
@click.option(
    "--calibrate",
    metavar="DATA",
    help="Fit two numbers of each origin to images of DATA (as for evaluate), a few of each "
    "label: for what origins say of each other's images. They are kept where cross-validation "
    "finds them better by its standard error.",
)
@click.option("--split", default="train", show_default=True, help="Which images of DATA calibrate.")
@map_option
@click.option(
    "--unlabeled",
    metavar="DIR",
    help="Fit an offset of each origin to the images in a folder and below, which need no labels "
    "and should show all labels about equally often: so that labels are given so.",
)
@click.option(
    "--project",
    metavar="PATH",
    default=".",
    show_default="the current folder",
    help="A folder in the project.",
)
@click.option("-o", "--output", metavar="CLF", help="The classifier's folder, to be made.")
@click.option(
    "--dry-run",
    is_flag=True,
    help="Only say what it would be and cost; how long an image takes is estimated.",
)
@click.option("--json", "as_json", is_flag=True, help="Print what was made as JSON.")
def command(
    *,
    sources: tuple[str, ...],
    strategy: str | None,
    reject: float | str | None,
    false_rejections: float | None,
    aliases: dict[str, str],
    ensemble: bool,
    calibrate: str | None,
    split: str,
    mapping: dict[str, str],
    unlabeled: str | None,
    project: str,
    output: str | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Compose a classifier of class modules, without training.

    NAME is an installed module (cifar10/cat), all of a namespace ("cifar10/*"), or the folder of
    a distribution. Without names, all installed class modules.

    NAME can also be an installed composition (acme/pets): named alone, the classifier is made
    again just as it was published; beside others, it stands for its class modules and their
    labels. Without names, and in a namespace, compositions are passed over: their class modules
    are installed, too.
    """
    if output is None and not dry_run:
        raise click.UsageError("Missing option '-o' / '--output', or '--dry-run'.")
    from modpm.verbs.composing import compose  # noqa: PLC0415 -- so that --help needs no torch
    from modpm.verbs.estimating import latency_here  # noqa: PLC0415 -- as above

    classifier = compose(
        sources,
        strategy,
        reject,
        false_rejections=false_rejections,
        aliases=aliases,
        ensemble=ensemble,
        calibrate=calibrate,
        split=split,
        mapping=mapping,
        unlabeled=unlabeled,
        project=project,
        report=say,
    )
    path = None if dry_run else output
    if path is not None:
        classifier.save(path)
    latency = latency_here(classifier) if dry_run else None
    if as_json:
        foreseen = {"latency": latency_data(latency)} if dry_run else {}
        emit(_data(classifier, path) | foreseen)
        return
    _print(classifier, path)
    if dry_run:
        say(f"latency: {_UNKNOWN if latency is None else latency_in_words(latency)}")
        say("nothing was written: this was a dry run")


_UNKNOWN = "not known before `modpm benchmark --machine` has measured this machine"


def _data(classifier: Classifier, path: str | None) -> dict[str, object]:
    assert classifier.composition is not None
    return {
        "path": path,
        "strategy": classifier.strategy,
        "reasons": list(classifier.reasons),
        "labels": list(classifier.labels),
        "adjustments": to_plain(classifier.composition.adjustments),
        "reject": classifier.reject,
        "false_rejections": classifier.false_rejections,
        "n_parameters": classifier.n_parameters,
        "size_bytes": classifier.cost.size_bytes,
        "macs": classifier.macs,
        "origin_macs": classifier.origin_macs,
        "together": together_data(classifier.counted),
    }


def _print(classifier: Classifier, path: str | None) -> None:
    pins = [
        (pin.label, pin.name, pin.version, pin.digest and pin.digest.partition(":")[2][:12])
        for pin in classifier.pins
    ]
    table(pins, ("label", "module", "version", "digest"))
    for reason in classifier.reasons:
        say(reason)
    if classifier.reject is not None:
        say(
            "none of the above: "
            f"{rejection_in_words(classifier.reject, classifier.false_rejections)}"
        )
    say(
        f"{path or 'it would be'}: {len(classifier.labels)} labels, {classifier.strategy}, "
        f"{classifier.n_parameters:,} parameters, {classifier.cost.size_bytes:,} bytes, "
        f"{classifier.macs:,} multiply-accumulates an image (its modules' origins: "
        f"{classifier.origin_macs:,})"
    )
    for line in together_lines(classifier.counted, "bytes of tensors"):
        say(line)
